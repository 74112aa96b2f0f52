import type { Clock } from "#platform/clock.ts";
import { FlushLoop } from "./flush-loop.ts";
import { callInParts } from "./parts.ts";

export interface GatherOptions<I, O> {
  clock: Clock;
  /** Maximum items in one call. */
  batchCount: number;
  /**
   * Linger time: how long the first item waits for others, ms; 0: until the end of this turn of the
   * event loop.
   */
  lingerMs: number;
  /** Maximum calls in flight. */
  inFlight: number;
  /** Maximum waiting items; `add` refuses more. */
  queueCount: number;
  /**
   * Returns one answer per item, in their order. An error rejects all items of the call; when one
   * item may have caused it, the call is repeated with parts of the items first, so that the others
   * get their answers.
   */
  call: (items: readonly I[]) => Promise<readonly O[]>;
}

/** Batches single items into calls. */
export interface Gather<I, O> {
  /** Resolves with the item's answer; returns undefined when the queue is full. */
  add(item: I): Promise<O> | undefined;
}

interface Waiting<I, O> {
  readonly item: I;
  readonly resolve: (answer: O) => void;
  readonly reject: (error: unknown) => void;
}

export function gather<I, O>(options: GatherOptions<I, O>): Gather<I, O> {
  const { clock, batchCount, lingerMs, inFlight, call } = options;
  let waiting: Waiting<I, O>[] = [];
  const loop = new FlushLoop({ clock, inFlight, flush });

  async function flush(): Promise<void> {
    const batch = waiting.slice(0, batchCount);
    waiting = waiting.slice(batchCount);
    if (waiting.length > 0) void loop.flushNow();
    if (batch.length === 0) return;
    await callInParts(batch, answerAll, (failed, error) => {
      for (const { reject } of failed) reject(error);
    });
  }

  async function answerAll(asked: readonly Waiting<I, O>[]): Promise<void> {
    const answers = await call(asked.map(({ item }) => item));
    for (const [index, { resolve, reject }] of asked.entries()) {
      const answer = answers[index];
      if (answer === undefined) reject(new Error("an answer is missing"));
      else resolve(answer);
    }
  }

  return {
    add(item) {
      if (waiting.length >= options.queueCount) return undefined;
      return new Promise<O>((resolve, reject) => {
        waiting.push({ item, resolve, reject });
        if (waiting.length >= batchCount) void loop.flushNow();
        else loop.schedule(lingerMs);
      });
    },
  };
}
