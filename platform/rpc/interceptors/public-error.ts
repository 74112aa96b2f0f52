import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";

/** The reason of an error that has only a code: one that a library, or a broken call, brought. */
const reasons: { readonly [C in Code]?: ErrorReason } = {
  [Code.InvalidArgument]: ErrorReason.INVALID_ARGUMENT,
  [Code.Unavailable]: ErrorReason.UNAVAILABLE,
  [Code.Unimplemented]: ErrorReason.METHOD_NOT_FOUND,
  [Code.PermissionDenied]: ErrorReason.PERMISSION_DENIED,
  [Code.ResourceExhausted]: ErrorReason.OVERLOADED,
  [Code.Unauthenticated]: ErrorReason.TOKEN_INVALID,
};

/** Codes that say nothing to a caller: there may be anything in their text. */
const opaque: ReadonlySet<Code> = new Set([
  Code.Unknown,
  Code.Internal,
  Code.Aborted,
  Code.DataLoss,
]);

/**
 * The error as the caller may see it: code, text and details of an error of the contract; the end
 * of a call that was cancelled or ran out of time; for anything else a bland INTERNAL. Never a
 * cause, and no headers that came with an answer of another service.
 */
export function toPublicError(thrown: unknown, signal: AbortSignal): ConnectError {
  if (thrown instanceof ConnectError) {
    if (reasonOf(thrown) !== ErrorReason.UNSPECIFIED) return copy(thrown);
    const reason = reasons[thrown.code];
    if (reason !== undefined) return fail(reason, thrown.rawMessage);
    if (!opaque.has(thrown.code)) return copy(thrown);
  } else if (signal.aborted && isAbort(thrown, signal)) {
    return copy(ConnectError.from(signal.reason, Code.Canceled));
  }
  return fail(ErrorReason.INTERNAL, "internal error");
}

function copy({ rawMessage, code, details }: ConnectError): ConnectError {
  const error = new ConnectError(rawMessage, code);
  error.details = details;
  return error;
}

function isAbort(thrown: unknown, signal: AbortSignal): boolean {
  return thrown === signal.reason || (thrown instanceof Error && thrown.name === "AbortError");
}
