import type { Writable } from "node:stream";
import type { Clock } from "#platform/clock.ts";

/**
 * Time-out for a client to read the answer to a unary call, ms. The largest, 1 MiB, needs 9 KiB a
 * second.
 */
const ANSWER_TIMEOUT_MS = 120_000;

/** Cuts an answer that its client does not read in time: it would keep its memory for ever. */
export function cutUnread(answer: Writable, clock: Clock): void {
  const timer = clock.after(ANSWER_TIMEOUT_MS, () => answer.destroy());
  answer.once("finish", () => timer.stop());
  answer.once("close", () => timer.stop());
}
