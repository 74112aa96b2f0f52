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
  /** Path of the field at fault, in the names of the contract; empty when there is none. */
  readonly field: string;
}

export function refusal(reason: ErrorReason, text: string, retryAfterMs = 0): Refusal {
  return { reason, text, retryAfterMs, field: "" };
}

/** INVALID_ARGUMENT for a field; `why` is the constraint that it breaks. */
export function invalidField(field: string, why: string): Refusal {
  return { ...refusal(ErrorReason.INVALID_ARGUMENT, `${field}: ${why}`), field };
}

/** The refusal as an error, for a unary call. */
export function refusalError({ reason, text, retryAfterMs, field }: Refusal): ConnectError {
  return fail(reason, text, { retryAfterMs, field });
}

/** An error of the contract as the refusal of one send; undefined for any other error. */
export function refusalOf(error: unknown): Refusal | undefined {
  const detail = detailOf(error);
  if (detail === undefined || detail.reason === ErrorReason.INTERNAL) return undefined;
  const text = (error as ConnectError).rawMessage;
  const { reason, retryAfterMs, field } = detail;
  return { reason, text, retryAfterMs: Number(retryAfterMs), field };
}

/** The error for a conversation that does not exist, or that the caller may not see. */
export const conversationNotFound = () =>
  fail(ErrorReason.CONVERSATION_NOT_FOUND, "no such conversation");
