import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/** Deadline of a unary call between services whose caller sets none, milliseconds. */
export const DEFAULT_DEADLINE_MS = 10_000;

/** Longest deadline of a call, ms: 24 days. The library's timer fires at once for a longer one. */
export const MAX_DEADLINE_MS = 2 ** 31 - 1;

const CONNECT = { name: "connect-timeout-ms", form: /^(\d+)()$/, maxDigits: 10 };
const GRPC = { name: "grpc-timeout", form: /^(\d+)([HMSmun])$/, maxDigits: 8 };

/** Milliseconds of a unit of grpc-timeout; the unit of Connect has no letter. */
const UNITS_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  "": 1,
  u: 0.001,
  n: 0.000_001,
};

/**
 * Replaces a longer deadline in the headers of a call by the longest. Throws INVALID_ARGUMENT for one
 * that cannot be read. More digits than the protocols allow are accepted: a client of connect-es sends
 * every deadline of gRPC in milliseconds.
 */
export function boundDeadline(header: Headers): void {
  const isGrpc = header.get("content-type")?.startsWith("application/grpc");
  const { name, form, maxDigits } = isGrpc ? GRPC : CONNECT;
  const value = header.get(name);
  if (value === null) return;
  const [, digits, unit] = form.exec(value) ?? [];
  if (digits === undefined || unit === undefined) {
    throw fail(ErrorReason.INVALID_ARGUMENT, `the header ${name} is not a deadline`);
  }
  const ms = Math.min(Number(digits) * UNITS_MS[unit]!, MAX_DEADLINE_MS);
  if (ms < MAX_DEADLINE_MS && digits.length <= maxDigits) return;
  header.set(name, isGrpc ? `${Math.floor(ms / 1_000)}S` : String(Math.floor(ms)));
}
