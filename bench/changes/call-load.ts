import { setTimeout as pause } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
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
  /** Number of repeated calls, by reason. */
  readonly repeated: Readonly<Record<Repeated, number>>;
  /** Failed calls, by error. */
  readonly failures: Readonly<Record<string, number>>;
}

/** A refusal with OVERLOADED, or a call without an answer: its connection ended, or it timed out. */
type Repeated = "overloaded" | "unanswered";

const UNANSWERED_RETRY_MS = 500;
const UNANSWERED = new Set([Code.Aborted, Code.DeadlineExceeded]);

/**
 * Makes a call, and repeats it as clients do: after a refusal with OVERLOADED, and when it had no answer. `repeated` is called for each repetition. A call must be harmless when it is repeated.
 */
export async function retrying<T>(
  call: () => Promise<T>,
  repeated: (why: Repeated) => void = () => {},
): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const detail = detailOf(error);
      const isOverloaded = detail?.reason === ErrorReason.OVERLOADED;
      if (!isOverloaded && !UNANSWERED.has(ConnectError.from(error).code)) throw error;
      repeated(isOverloaded ? "overloaded" : "unanswered");
      await pause(isOverloaded ? Number(detail.retryAfterMs) : UNANSWERED_RETRY_MS);
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
  readonly #repeated = { overloaded: 0, unanswered: 0 };

  /** Makes a call. Never rejects. */
  async make(call: Call, sinceMs: number): Promise<void> {
    try {
      await retrying(call, (why) => this.#repeated[why]++);
      this.#latencies.add((performance.now() - sinceMs) * 1_000);
    } catch (error) {
      const { message } = error as Error;
      this.#failures[message] = (this.#failures[message] ?? 0) + 1;
    }
  }

  made(beganMs: number): CallsMade {
    const seconds = (performance.now() - beganMs) / 1_000;
    const [latencies, failures] = [this.#latencies, this.#failures];
    return { seconds, latencies, repeated: this.#repeated, failures };
  }
}

/** The failures as faults, one sentence each. */
export function faultsOf(what: string, { failures }: CallsMade): string[] {
  return Object.entries(failures).map(([why, count]) => `${count} ${what} failed: ${why}`);
}
