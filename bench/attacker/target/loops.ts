import { setTimeout as timeout } from "node:timers/promises";
import type { Target } from "./target.ts";

/** Pause after a step that failed, ms: a refused connection must not cost the attacker a whole core. */
const RETRY_MS = 50;

/** Resolves after the time, or when the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await timeout(ms, undefined, { signal }).catch(() => {});
}

/** Repeats a step until the signal aborts. The tally counts its failures. */
export async function keepDoing(
  { tally }: Target,
  signal: AbortSignal,
  step: () => Promise<unknown>,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await step();
    } catch (error) {
      if (signal.aborted) return;
      tally.failed(error);
      await pause(RETRY_MS, signal);
    }
  }
}

/** Runs `work` `count` times concurrently; each run gets its number. */
export function inParallel(count: number, work: (number: number) => Promise<unknown>) {
  return Promise.all(Array.from({ length: count }, (_, number) => work(number)));
}
