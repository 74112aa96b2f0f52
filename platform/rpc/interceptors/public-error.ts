import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import { excerpt } from "#platform/excerpt.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";

/**
 * Reason of an error that has only a code, such as one of a library. The text of any other code may
 * contain internals: the caller must not see it.
 */
const REASONS: { readonly [C in Code]?: ErrorReason } = {
  [Code.InvalidArgument]: ErrorReason.INVALID_ARGUMENT,
  [Code.Unavailable]: ErrorReason.UNAVAILABLE,
  [Code.Unimplemented]: ErrorReason.METHOD_NOT_FOUND,
  [Code.PermissionDenied]: ErrorReason.PERMISSION_DENIED,
  [Code.ResourceExhausted]: ErrorReason.OVERLOADED,
  [Code.Unauthenticated]: ErrorReason.TOKEN_INVALID,
  [Code.DeadlineExceeded]: ErrorReason.DEADLINE_EXCEEDED,
  [Code.Canceled]: ErrorReason.CANCELED,
};

/** Maximum bytes of an error's text, which may repeat a part of the request. */
const MAX_TEXT_BYTES = 512;

/**
 * The error as the caller may see it, always with a detail. An error of the contract keeps code, text and
 * details. A call that was cancelled or exceeded its deadline gets that reason. A database that cannot
 * be reached becomes UNAVAILABLE. Any other error becomes a bland INTERNAL. The cause, and headers of
 * another service's answer, are dropped, and a long text is cut.
 */
export function toPublicError(thrown: unknown, signal: AbortSignal): ConnectError {
  if (thrown instanceof ConnectError) {
    if (reasonOf(thrown) !== ErrorReason.UNSPECIFIED) return copy(thrown);
    const reason = REASONS[thrown.code];
    if (reason !== undefined) return fail(reason, excerpt(thrown.rawMessage, MAX_TEXT_BYTES));
  } else if (signal.aborted && isAbort(thrown, signal)) {
    return toPublicError(ConnectError.from(signal.reason, Code.Canceled), signal);
  }
  const unavailable = databaseUnavailable(thrown);
  if (unavailable !== undefined) return copy(unavailable);
  return fail(ErrorReason.INTERNAL, "internal error");
}

function copy({ rawMessage, code, details }: ConnectError): ConnectError {
  const error = new ConnectError(excerpt(rawMessage, MAX_TEXT_BYTES), code);
  error.details = details;
  return error;
}

function isAbort(thrown: unknown, signal: AbortSignal): boolean {
  return thrown === signal.reason || (thrown instanceof Error && thrown.name === "AbortError");
}
