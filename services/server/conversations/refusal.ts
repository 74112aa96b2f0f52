import type { ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf, fail } from "#platform/errors.ts";

/** The reason why a send was not stored. */
export interface Refusal {
  readonly reason: ErrorReason;
  /** Text for developers. */
  readonly text: string;
  /** Delay before a retry, milliseconds; 0 when a retry cannot succeed. */
  readonly retryAfterMs: number;
}

export function refusal(reason: ErrorReason, text: string, retryAfterMs = 0): Refusal {
  return { reason, text, retryAfterMs };
}

/** The refusal as an error, for a unary call. */
export function refusalError({ reason, text, retryAfterMs }: Refusal): ConnectError {
  return fail(reason, text, { retryAfterMs });
}

/** An error of the contract as the refusal of one send; undefined for any other error. */
export function refusalOf(error: unknown): Refusal | undefined {
  const detail = detailOf(error);
  if (detail === undefined || detail.reason === ErrorReason.INTERNAL) return undefined;
  const text = (error as ConnectError).rawMessage;
  return refusal(detail.reason, text, Number(detail.retryAfterMs));
}
