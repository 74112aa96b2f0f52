/** Deadline of a unary call between services whose caller sets none, milliseconds. */
export const DEFAULT_DEADLINE_MS = 10_000;
