import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { CloseCode, type Kick, ReconnectAction } from "../../gen/lucky/frame/v1/frame_pb.js";
import { LuckyError } from "../error.ts";

/** Shortest back-off after a server closed with RATE_LIMITED or UNAVAILABLE, ms. */
const BUSY_BACKOFF_MS = 1_000;
/** Close codes after which a client does not reconnect by itself, known or not. */
const STAY_CLOSED = { from: 4_500, to: 4_999 };

/**
 * Reason of a permanent close. "by-caller": the caller closed it. "login-over": log in again.
 * "replaced": another session replaced it, and the user decides which one continues.
 * "device-limit": the maximum number of devices of its class is online, and none is replaced.
 * "client-too-old": the server requires a newer client. "by-server": the server asked the client to
 * stay closed, for a reason that this version does not know.
 */
export type ClosedReason =
  | "by-caller"
  | "login-over"
  | "replaced"
  | "device-limit"
  | "client-too-old"
  | "by-server";

/** The error for callers of a closed session. */
export function closedError(reason: ClosedReason): LuckyError {
  switch (reason) {
    case "by-caller":
      return new LuckyError(ErrorReason.UNAVAILABLE, "the client is closed");
    case "replaced":
      return new LuckyError(ErrorReason.UNAVAILABLE, "another session replaced this one");
    case "login-over":
      return new LuckyError(ErrorReason.TOKEN_REVOKED, "the login is over: log in again");
    case "device-limit":
      return new LuckyError(
        ErrorReason.DEVICE_LIMIT_REACHED,
        "the maximum number of devices of this class is online",
      );
    case "client-too-old":
      return new LuckyError(ErrorReason.UNAVAILABLE, "the server requires a newer client");
    case "by-server":
      return new LuckyError(ErrorReason.UNAVAILABLE, "the server closed the session for good");
  }
}

/** The next step after a session ended or failed to open. */
export type NextStep =
  | { readonly kind: "at-once" }
  /** `extraMs` is added to the back-off, which is at least `atLeastMs`. */
  | { readonly kind: "back-off"; readonly atLeastMs: number; readonly extraMs: number }
  /** After a back-off, with a refreshed access token. */
  | { readonly kind: "refresh"; readonly extraMs: number }
  | { readonly kind: "stop"; readonly reason: ClosedReason };

/**
 * The next step after a session closed with the code. The action of the Kick that announced the close
 * wins over the range of the code.
 */
export function afterClose(
  code: number,
  kick?: Pick<Kick, "action" | "retryAfterMs"> | undefined,
): NextStep {
  const staysClosed =
    kick?.action === ReconnectAction.STAY_CLOSED ||
    (kick?.action !== ReconnectAction.RECONNECT &&
      code >= STAY_CLOSED.from &&
      code <= STAY_CLOSED.to);
  if (staysClosed) return { kind: "stop", reason: closedReasonOf(code) };
  const extraMs = Number(kick?.retryAfterMs ?? 0n);
  if (code === CloseCode.TOKEN_EXPIRED) return { kind: "refresh", extraMs };
  const busy = code === CloseCode.RATE_LIMITED || code === CloseCode.UNAVAILABLE;
  return { kind: "back-off", atLeastMs: busy ? BUSY_BACKOFF_MS : 0, extraMs };
}

function closedReasonOf(code: number): ClosedReason {
  switch (code) {
    case CloseCode.TOKEN_INVALID:
    case CloseCode.TOKEN_REVOKED:
      return "login-over";
    case CloseCode.REPLACED:
      return "replaced";
    case CloseCode.DEVICE_LIMIT_REACHED:
      return "device-limit";
    case CloseCode.CLIENT_TOO_OLD:
      return "client-too-old";
    default:
      return "by-server";
  }
}

/** The next step after a failure before the session was open. */
export function afterFailure(error: LuckyError): NextStep {
  switch (error.reason) {
    case ErrorReason.TOKEN_INVALID:
    case ErrorReason.TOKEN_REVOKED:
    case ErrorReason.REFRESH_TOKEN_INVALID:
      return { kind: "stop", reason: "login-over" };
    default:
      return { kind: "back-off", atLeastMs: error.retryAfterMs, extraMs: 0 };
  }
}
