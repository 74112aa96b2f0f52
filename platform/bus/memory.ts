import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Bus, Consumer, DeadLetter } from "./bus.ts";

export interface MemoryBusOptions {
  /** Bytes a queue holds at most; beyond that its oldest bodies go to the dead letters. */
  maxQueueBytes?: number;
  /** Bytes of dead letters kept at most; beyond that the oldest are forgotten. */
  maxDeadBytes?: number;
  /** How long a closing consumer waits for the delivery in work, milliseconds. */
  closeWaitMs?: number;
}

/**
 * A bus inside one process, gone with it. Bodies are handed over as they are, not copied: whoever
 * published one must not write to it afterwards.
 */
export function createMemoryBus(options: MemoryBusOptions = {}): Bus {
  const { maxQueueBytes = 64 << 20, maxDeadBytes = 16 << 20, closeWaitMs = 5_000 } = options;
  const queues = new Map<string, Queue<Uint8Array>>();
  const letters = new Queue<DeadLetter>((letter) => letter.body.length, maxDeadBytes);
  let open = true;

  const reachable = () => {
    if (!open) throw fail(ErrorReason.UNAVAILABLE, "the bus is closed");
  };
  const bury = (queue: string, reason: string, body: Uint8Array) =>
    letters.push({ queue, reason, body });

  const existing = (name: string): Queue<Uint8Array> => {
    let queue = queues.get(name);
    if (!queue) {
      queue = new Queue(
        (body) => body.length,
        maxQueueBytes,
        (body) => bury(name, "maxlen", body),
      );
      queues.set(name, queue);
    }
    return queue;
  };

  return {
    async publish(name, body, signal) {
      reachable();
      if (signal.aborted)
        throw fail(ErrorReason.UNAVAILABLE, "publish was aborted", { cause: signal.reason });
      const queue = queues.get(name);
      if (!queue) return "unroutable";
      queue.push(body);
      return "confirmed";
    },
    async consume(name, take) {
      reachable();
      const rejected = (body: Uint8Array) => bury(name, "rejected", body);
      return existing(name).consume(take, rejected, closeWaitMs);
    },
    async consumeDeadLetters(take) {
      reachable();
      return letters.consume(take, () => {}, closeWaitMs);
    },
    ready: () => open,
    async close() {
      open = false;
      await Promise.all([letters, ...queues.values()].map((queue) => queue.closeConsumers()));
    },
  };
}

/** First in, first out, with consumers that take one at a time; bounded by dropping the oldest. */
class Queue<T> {
  readonly #sizeOf: (item: T) => number;
  readonly #maxBytes: number;
  readonly #dropped: (item: T) => void;
  readonly #consumers = new Set<Consumer>();
  readonly #waiting: (() => void)[] = [];
  #items: (T | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  constructor(
    sizeOf: (item: T) => number,
    maxBytes: number,
    dropped: (item: T) => void = () => {},
  ) {
    this.#sizeOf = sizeOf;
    this.#maxBytes = maxBytes;
    this.#dropped = dropped;
  }

  push(item: T): void {
    this.#items.push(item);
    this.#bytes += this.#sizeOf(item);
    while (this.#bytes > this.#maxBytes && this.#items.length - this.#head > 1) {
      this.#dropped(this.#shift()!);
    }
    this.#waiting.shift()?.();
  }

  consume(take: (item: T) => Promise<void>, rejected: (item: T) => void, waitMs: number): Consumer {
    let closing = false;
    let work: { item: T; done: boolean } | undefined;

    const run = async () => {
      while (!closing) {
        const item = this.#shift();
        if (item === undefined) {
          await new Promise<void>((resolve) => this.#waiting.push(resolve));
          continue;
        }
        const current = { item, done: false };
        work = current;
        const taken = await settle(take, item);
        // Given back meanwhile: somebody else has it now.
        if (current.done) return;
        current.done = true;
        work = undefined;
        if (!taken) rejected(item);
      }
    };
    const running = run();

    let closed: Promise<void> | undefined;
    const consumer: Consumer = {
      close: () => {
        closed ??= (async () => {
          closing = true;
          this.#consumers.delete(consumer);
          for (const wake of this.#waiting.splice(0)) wake();
          if (work) await orAfter(running, waitMs);
          if (!work) return;
          work.done = true;
          this.#unshift(work.item);
        })();
        return closed;
      },
    };
    this.#consumers.add(consumer);
    return consumer;
  }

  async closeConsumers(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
  }

  #shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head]!;
    // What was taken is no longer held: bodies are large, and only what waits is bounded.
    this.#items[this.#head++] = undefined;
    this.#bytes -= this.#sizeOf(item);
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  #unshift(item: T): void {
    this.#items = [item, ...this.#items.slice(this.#head)];
    this.#head = 0;
    this.#bytes += this.#sizeOf(item);
    this.#waiting.shift()?.();
  }
}

/** Whether the item was taken; a rejection and a throw are the same. */
async function settle<T>(take: (item: T) => Promise<void>, item: T): Promise<boolean> {
  try {
    await take(item);
    return true;
  } catch {
    return false;
  }
}

async function orAfter(work: Promise<void>, waitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, waitMs);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}
