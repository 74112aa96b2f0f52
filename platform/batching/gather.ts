import type { Clock, Timer } from "#platform/clock.ts";

export interface GatherOptions<I, O> {
  clock: Clock;
  /** Items in one call. */
  batchCount: number;
  /** How long the first item waits for company; 0: for this turn of the event loop. */
  lingerMs: number;
  /** Calls on their way at once. */
  inFlight: number;
  /** Items waiting; `add` refuses more. */
  queueCount: number;
  /** Answers one a item, in their order; rejects for all. */
  call: (items: readonly I[]) => Promise<readonly O[]>;
}

/** Joins items that come one by one into calls for many. */
export interface Gather<I, O> {
  /** Resolves with the item's answer; undefined at once when the queue is full. */
  add(item: I): Promise<O> | undefined;
}

interface Waiting<I, O> {
  readonly item: I;
  readonly resolve: (answer: O) => void;
  readonly reject: (error: unknown) => void;
}

export function gather<I, O>(options: GatherOptions<I, O>): Gather<I, O> {
  const { clock, batchCount, lingerMs, call } = options;
  let waiting: Waiting<I, O>[] = [];
  let flying = 0;
  let linger: Timer | undefined;
  const soon = (): Timer => {
    if (lingerMs > 0) return clock.after(lingerMs, flush);
    const immediate = setImmediate(flush);
    return { stop: () => clearImmediate(immediate) };
  };

  const flush = (): void => {
    linger = undefined;
    while (waiting.length > 0 && flying < options.inFlight) {
      const batch = waiting.slice(0, batchCount);
      waiting = waiting.slice(batchCount);
      flying += 1;
      call(batch.map(({ item }) => item))
        .then(
          (answers) => {
            for (const [index, { resolve, reject }] of batch.entries()) {
              const answer = answers[index];
              if (answer === undefined) reject(new Error("an answer is missing"));
              else resolve(answer);
            }
          },
          (error: unknown) => {
            for (const { reject } of batch) reject(error);
          },
        )
        .finally(() => {
          flying -= 1;
          if (waiting.length > 0 && !linger) flush();
        });
    }
  };

  return {
    add(item) {
      if (waiting.length >= options.queueCount) return undefined;
      return new Promise<O>((resolve, reject) => {
        waiting.push({ item, resolve, reject });
        if (waiting.length >= batchCount) {
          linger?.stop();
          flush();
        } else {
          linger ??= soon();
        }
      });
    },
  };
}
