import { Code, ConnectError } from "@connectrpc/connect";
import {
  type ErrorDetail,
  ErrorDetailSchema,
  ErrorReason,
} from "../gen/lucky/error/v1/error_pb.js";
import type { RpcError } from "../gen/lucky/frame/v1/frame_pb.js";

/** An error with a reason from the contract's closed list. Switch on the reason. */
export class LuckyError extends Error {
  readonly reason: ErrorReason;
  /** Shortest useful delay of a retry, ms; 0 when the server named none, or a retry is useless. */
  readonly retryAfterMs: number;

  constructor(
    reason: ErrorReason,
    text: string,
    options: { retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(text, { cause: options.cause });
    this.name = "LuckyError";
    this.reason = reason;
    this.retryAfterMs = options.retryAfterMs ?? 0;
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
    return new LuckyError(detail?.reason ?? otherwise, text, { retryAfterMs, cause });
  }

  /** Whether a retry of the unchanged call may succeed. */
  get retryable(): boolean {
    return (
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

/** The reason of an error that no Lucky service produced: network, proxy or deadline. */
function reasonByCode(error: ConnectError): ErrorReason {
  const network = error.cause instanceof TypeError;
  const unavailable = [Code.Unavailable, Code.DeadlineExceeded, Code.Canceled, Code.Aborted];
  return network || unavailable.includes(error.code)
    ? ErrorReason.UNAVAILABLE
    : ErrorReason.UNSPECIFIED;
}
