import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ErrorDetail, ErrorDetailSchema, ErrorReason } from "#gen/lucky/error/v1/error_pb.js";

/** The Connect code of each reason, as the comments in error.proto state. */
const CODES: Record<ErrorReason, Code> = {
  [ErrorReason.UNSPECIFIED]: Code.Unknown,
  [ErrorReason.INTERNAL]: Code.Internal,
  [ErrorReason.INVALID_ARGUMENT]: Code.InvalidArgument,
  [ErrorReason.TOKEN_INVALID]: Code.Unauthenticated,
  [ErrorReason.TOKEN_EXPIRED]: Code.Unauthenticated,
  [ErrorReason.TOKEN_REVOKED]: Code.Unauthenticated,
  [ErrorReason.PERMISSION_DENIED]: Code.PermissionDenied,
  [ErrorReason.RATE_LIMITED]: Code.ResourceExhausted,
  [ErrorReason.OVERLOADED]: Code.ResourceExhausted,
  [ErrorReason.UNAVAILABLE]: Code.Unavailable,
  [ErrorReason.CREDENTIALS_INVALID]: Code.Unauthenticated,
  [ErrorReason.USER_NAME_TAKEN]: Code.AlreadyExists,
  [ErrorReason.PASSWORD_WEAK]: Code.InvalidArgument,
  [ErrorReason.ENCRYPTION_INVALID]: Code.InvalidArgument,
  [ErrorReason.REFRESH_TOKEN_INVALID]: Code.Unauthenticated,
  [ErrorReason.USER_NOT_FOUND]: Code.NotFound,
  [ErrorReason.CONVERSATION_NOT_FOUND]: Code.NotFound,
  [ErrorReason.NOT_A_MEMBER]: Code.PermissionDenied,
  [ErrorReason.MUTED]: Code.PermissionDenied,
  [ErrorReason.KEY_REUSED]: Code.AlreadyExists,
  [ErrorReason.GROUP_FULL]: Code.FailedPrecondition,
  [ErrorReason.METHOD_NOT_FOUND]: Code.Unimplemented,
  [ErrorReason.USER_NAME_CONFUSABLE]: Code.AlreadyExists,
  [ErrorReason.PHONE_INVALID]: Code.InvalidArgument,
  [ErrorReason.PHONE_TAKEN]: Code.AlreadyExists,
  [ErrorReason.SMS_CODE_INVALID]: Code.Unauthenticated,
  [ErrorReason.SMS_CODE_EXHAUSTED]: Code.FailedPrecondition,
  [ErrorReason.SMS_NOT_SENT]: Code.Unavailable,
  [ErrorReason.ACCOUNT_DISABLED]: Code.PermissionDenied,
  [ErrorReason.ACCOUNT_LOCKED]: Code.ResourceExhausted,
  [ErrorReason.QR_LOGIN_NOT_FOUND]: Code.NotFound,
  [ErrorReason.QR_LOGIN_EXPIRED]: Code.FailedPrecondition,
  [ErrorReason.QR_LOGIN_STEP]: Code.FailedPrecondition,
  [ErrorReason.QR_LOGIN_FOREIGN]: Code.PermissionDenied,
  [ErrorReason.PHONE_DEVICE_REQUIRED]: Code.PermissionDenied,
  [ErrorReason.DEVICE_NOT_FOUND]: Code.NotFound,
  [ErrorReason.DEVICE_LIMIT_REACHED]: Code.FailedPrecondition,
  [ErrorReason.LAST_ADMIN]: Code.FailedPrecondition,
  [ErrorReason.PROOF_REQUIRED]: Code.PermissionDenied,
  [ErrorReason.DEADLINE_EXCEEDED]: Code.DeadlineExceeded,
  [ErrorReason.CANCELED]: Code.Canceled,
  [ErrorReason.MESSAGE_NOT_FOUND]: Code.NotFound,
  [ErrorReason.MESSAGE_RECALLED]: Code.FailedPrecondition,
  [ErrorReason.CHANGE_WINDOW_PASSED]: Code.FailedPrecondition,
  [ErrorReason.CHANGE_LIMIT_REACHED]: Code.FailedPrecondition,
  [ErrorReason.CHANGE_DENIED]: Code.PermissionDenied,
  [ErrorReason.REPLY_TARGET_INVALID]: Code.InvalidArgument,
  [ErrorReason.MENTION_INVALID]: Code.InvalidArgument,
  [ErrorReason.MENTION_ALL_DENIED]: Code.PermissionDenied,
  [ErrorReason.REACTION_INVALID]: Code.InvalidArgument,
  [ErrorReason.REACTION_LIMIT_REACHED]: Code.FailedPrecondition,
  [ErrorReason.PIN_LIMIT_REACHED]: Code.FailedPrecondition,
  [ErrorReason.FORWARD_DENIED]: Code.PermissionDenied,
  [ErrorReason.FORWARD_TOO_LARGE]: Code.InvalidArgument,
};

/**
 * Reasons of errors that an unchanged retry can pass. A client takes a `retry_after_ms` of 0 as final,
 * so these always have one.
 */
const PASSING: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.OVERLOADED,
  ErrorReason.UNAVAILABLE,
  ErrorReason.RATE_LIMITED,
  ErrorReason.DEADLINE_EXCEEDED,
]);

/** Delay before the retry of such an error that names none, ms. */
const RETRY_AFTER_MS = 1_000;

export interface FailOptions {
  /** Delay before a retry can succeed, milliseconds. */
  retryAfterMs?: number;
  /** Path of the field at fault, in the names of the contract: "device.device_name", "user_ids[3]". */
  field?: string;
  /** Code of the error, when a protocol demands another one than that of the reason. */
  code?: Code;
  /** The underlying error: for the log, never for the caller. */
  cause?: unknown;
}

/** Creates an error of the contract; the reason determines the code. The caller throws it. */
export function fail(reason: ErrorReason, text: string, options: FailOptions = {}): ConnectError {
  const { code = CODES[reason], field = "", cause } = options;
  const retryAfterMs = options.retryAfterMs ?? (PASSING.has(reason) ? RETRY_AFTER_MS : 0);
  const detail = create(ErrorDetailSchema, {
    reason,
    retryAfterMs: BigInt(Math.ceil(retryAfterMs)),
    field,
  });
  const outgoing = [{ desc: ErrorDetailSchema, value: detail }];
  return new ConnectError(text, code, undefined, outgoing, cause);
}

/** INVALID_ARGUMENT for a field, see FailOptions; `why` is the constraint that it breaks. */
export function invalidField(field: string, why: string): ConnectError {
  return fail(ErrorReason.INVALID_ARGUMENT, `${field}: ${why}`, { field });
}

/** The detail of an error of the contract, created in this process or received from another. */
export function detailOf(error: unknown): ErrorDetail | undefined {
  if (!(error instanceof ConnectError)) return undefined;
  return error.findDetails(ErrorDetailSchema)[0];
}

/** The reason of an error; UNSPECIFIED when the error carries none. */
export function reasonOf(error: unknown): ErrorReason {
  return detailOf(error)?.reason ?? ErrorReason.UNSPECIFIED;
}
