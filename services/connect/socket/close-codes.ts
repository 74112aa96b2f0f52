import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";

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
