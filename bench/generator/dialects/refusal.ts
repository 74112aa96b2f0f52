import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { readVarint, scan } from "#platform/wire.ts";

/** Field numbers from a SendResult down to the error of its refusal. */
const REFUSED = 3;
const ERROR = 1;
const REASON = 1;
const RETRY_AFTER = 2;

/** Why a send was refused. */
export interface Refusal {
  readonly reason: ErrorReason;
  /** Retry delay, milliseconds; 0 when the refusal does not state one. */
  readonly retryAfterMs: number;
}

/**
 * Reads a refused SendResult without decoding its other fields, for speed: half of all sends may be refused.
 */
export function readRefusal(result: Uint8Array): Refusal {
  let reason = ErrorReason.UNSPECIFIED;
  let retryAfterMs = 0;
  for (const [outer, , from, to] of scan(result)) {
    if (outer !== REFUSED) continue;
    for (const [inner, , errorFrom, errorTo] of scan(result, from, to)) {
      if (inner !== ERROR) continue;
      for (const [field, , at] of scan(result, errorFrom, errorTo)) {
        if (field === REASON) reason = readVarint(result, at);
        else if (field === RETRY_AFTER) retryAfterMs = readVarint(result, at);
      }
    }
  }
  return { reason, retryAfterMs };
}
