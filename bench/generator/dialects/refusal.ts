import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { readVarint, scan } from "#platform/wire.ts";

/** Field numbers on the way from a SendResult to what its refusal says. */
const REFUSED = 3;
const ERROR = 1;
const REASON = 1;
const RETRY_AFTER = 2;

/** Why a send was refused. */
export interface Refusal {
  readonly reason: ErrorReason;
  /** After how many milliseconds it may be sent again; 0 when that was not said. */
  readonly retryAfterMs: number;
}

/** Reads a refused SendResult, without decoding the rest: it may come for every second send. */
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
