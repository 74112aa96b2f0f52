import { Code, ConnectError } from "@connectrpc/connect";
import {
  type ErrorDetail,
  ErrorDetailSchema,
  ErrorReason,
} from "../gen/lucky/error/v1/error_pb.js";
import type { RpcError } from "../gen/lucky/frame/v1/frame_pb.js";

/**
 * An error with a reason of the contract. Switch on the reason; a later server may send one that this
 * version does not know: `retryable` says what to do with it.
 */
export class LuckyError extends Error {
  readonly reason: ErrorReason;
  /** Shortest useful delay of a retry, ms; 0 when the server named none, or a retry is useless. */
  readonly retryAfterMs: number;
  /** For INVALID_ARGUMENT: path of the field in the request, such as "content.text.text"; else empty. */
  readonly field: string;

  constructor(
    reason: ErrorReason,
    text: string,
    options: { retryAfterMs?: number; field?: string; cause?: unknown } = {},
  ) {
    super(text, { cause: options.cause });
    this.name = "LuckyError";
    this.reason = reason;
    this.retryAfterMs = options.retryAfterMs ?? 0;
    this.field = options.field ?? "";
  }

  /** Converts any error: of a service client, of fetch, or already a LuckyError. */
  static from(error: unknown): LuckyError {
    if (error instanceof LuckyError) return error;
    if (!(error instanceof ConnectError)) {
      const text = error instanceof Error ? error.message : String(error);
      return new LuckyError(ErrorReason.UNSPECIFIED, text, { cause: error });
    }
    if (error.cause instanceof LuckyError) return error.cause;
    const detail = error.findDetails(ErrorDetailSchema)[0];
    return LuckyError.fromDetail(detail, error.rawMessage, reasonByCode(error), error);
  }

  /** The error of a call over the socket. */
  static fromRpc(error: RpcError): LuckyError {
    return LuckyError.fromDetail(error.error, error.text, ErrorReason.UNSPECIFIED, undefined);
  }

  static fromDetail(
    detail: ErrorDetail | undefined,
    text: string,
    otherwise: ErrorReason,
    cause: unknown,
  ): LuckyError {
    const retryAfterMs = Number(detail?.retryAfterMs ?? 0n);
    const options = { retryAfterMs, field: detail?.field, cause };
    return new LuckyError(detail?.reason ?? otherwise, text, options);
  }

  /**
   * Whether a retry of the unchanged call may succeed: the server named a delay, whatever the reason, or
   * the failure is temporary. An unknown reason without a delay is final.
   */
  get retryable(): boolean {
    return (
      this.retryAfterMs > 0 ||
      this.reason === ErrorReason.RATE_LIMITED ||
      this.reason === ErrorReason.OVERLOADED ||
      this.reason === ErrorReason.UNAVAILABLE
    );
  }
}

/** The reason of any error; UNSPECIFIED when it carries none. */
export function reasonOf(error: unknown): ErrorReason {
  return LuckyError.from(error).reason;
}

/**
 * The reason of an error that no Lucky service produced: network, proxy or deadline. Connect gives
 * Unknown to an HTTP status such as 500.
 */
function reasonByCode(error: ConnectError): ErrorReason {
  const network = error.cause instanceof TypeError;
  const { Unavailable, DeadlineExceeded, Canceled, Aborted, Unknown } = Code;
  const unavailable = [Unavailable, DeadlineExceeded, Canceled, Aborted, Unknown];
  return network || unavailable.includes(error.code)
    ? ErrorReason.UNAVAILABLE
    : ErrorReason.UNSPECIFIED;
}
