import { setTimeout as pause } from "node:timers/promises";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf } from "#platform/errors.ts";
import { Histogram } from "../statistics/histogram.ts";

/** A call; rejects when it fails or when its answer is wrong. */
export type Call = () => Promise<void>;

/** Calls that were made, their latencies and their failures. */
export interface CallsMade {
  readonly seconds: number;
  /** Latencies of the calls that succeeded, µs. At a fixed rate they count from the due time. */
  readonly latencies: Histogram;
  /** Refusals with OVERLOADED; each call was repeated after the given time, as clients do. */
  readonly overloaded: number;
  /** Failed calls, by error. */
  readonly failures: Readonly<Record<string, number>>;
}

/**
 * Makes a call, and repeats it as long as the server refuses it with OVERLOADED. `refused` is called for each
 * refusal.
 */
export async function retrying<T>(call: () => Promise<T>, refused = () => {}): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const detail = detailOf(error);
      if (detail?.reason !== ErrorReason.OVERLOADED) throw error;
      refused();
      await pause(Number(detail.retryAfterMs));
    }
  }
}

/** Makes calls, `atOnce` at a time. */
export async function callAll(calls: readonly Call[], atOnce: number): Promise<CallsMade> {
  const beganMs = performance.now();
  const record = new CallRecord();
  const remaining = calls.values();
  const work = async () => {
    for (const call of remaining) await record.make(call, performance.now());
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return record.made(beganMs);
}

/** Makes calls, evenly spread over a number of seconds, whatever the number in flight. */
export async function callSpread(calls: readonly Call[], seconds: number): Promise<CallsMade> {
  const beganMs = performance.now();
  const spacingMs = (seconds * 1_000) / calls.length;
  const record = new CallRecord();
  const made: Promise<void>[] = [];
  for (const [nth, call] of calls.entries()) {
    const dueMs = beganMs + nth * spacingMs;
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) await pause(waitMs);
    made.push(record.make(call, dueMs));
  }
  await Promise.all(made);
  return record.made(beganMs);
}

class CallRecord {
  readonly #latencies = new Histogram();
  readonly #failures: Record<string, number> = {};
  #overloaded = 0;

  /** Makes a call. Never rejects. */
  async make(call: Call, sinceMs: number): Promise<void> {
    try {
      await retrying(call, () => this.#overloaded++);
      this.#latencies.add((performance.now() - sinceMs) * 1_000);
    } catch (error) {
      const { message } = error as Error;
      this.#failures[message] = (this.#failures[message] ?? 0) + 1;
    }
  }

  made(beganMs: number): CallsMade {
    const seconds = (performance.now() - beganMs) / 1_000;
    const [latencies, failures] = [this.#latencies, this.#failures];
    return { seconds, latencies, overloaded: this.#overloaded, failures };
  }
}

/** The failures as faults, one sentence each. */
export function faultsOf(what: string, { failures }: CallsMade): string[] {
  return Object.entries(failures).map(([why, count]) => `${count} ${what} failed: ${why}`);
}
