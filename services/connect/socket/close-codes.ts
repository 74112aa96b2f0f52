import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode, ReconnectAction } from "#gen/lucky/frame/v1/frame_pb.js";

/** Close codes from here to 4999: the client does not reconnect by itself. All others: it does. */
const FIRST_STAY_CLOSED = 4_500;
const LAST_STAY_CLOSED = 4_999;

/** Delay before a reconnect to a server that is overloaded or not available, ms. */
const RETRY_AFTER_MS = 1_000;

/** The action of a client whose session was closed with a code. The range of the code decides. */
export function actionOf(code: number): ReconnectAction {
  return code >= FIRST_STAY_CLOSED && code <= LAST_STAY_CLOSED
    ? ReconnectAction.STAY_CLOSED
    : ReconnectAction.RECONNECT;
}

/** Shortest delay before the reconnect, in addition to the client's back-off, ms; 0: none. */
export function retryAfterMsOf(code: CloseCode): number {
  return code === CloseCode.RATE_LIMITED || code === CloseCode.UNAVAILABLE ? RETRY_AFTER_MS : 0;
}

/** The close code for a token that was refused with `reason`. */
export function closeCodeOf(reason: ErrorReason): CloseCode {
  switch (reason) {
    case ErrorReason.TOKEN_INVALID:
      return CloseCode.TOKEN_INVALID;
    case ErrorReason.TOKEN_EXPIRED:
      return CloseCode.TOKEN_EXPIRED;
    case ErrorReason.TOKEN_REVOKED:
      return CloseCode.TOKEN_REVOKED;
    default:
      return CloseCode.UNAVAILABLE;
  }
}

/** The close text that goes with `closeCodeOf`; for developers. */
export function closeTextOf(code: CloseCode): string {
  switch (code) {
    case CloseCode.TOKEN_INVALID:
      return "the access token is not valid";
    case CloseCode.TOKEN_EXPIRED:
      return "the access token has expired";
    case CloseCode.TOKEN_REVOKED:
      return "the login was ended";
    default:
      return "a part of the server cannot be reached";
  }
}
