import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { endsWithin } from "#platform/waiting.ts";
import type { Bus, Consumer, DeadLetter } from "./bus.ts";

export interface MemoryBusOptions {
  /** Maximum bytes of a queue; beyond that its oldest bodies are moved to the dead letters. */
  maxQueueBytes?: number;
  /** Maximum bytes of dead letters; beyond that the oldest are dropped. */
  maxDeadBytes?: number;
  /** Time-out of a closing consumer for the delivery in progress, milliseconds. */
  closeTimeoutMs?: number;
}

/**
 * A bus inside one process; its content is lost when the process exits. It does not copy bodies: the
 * publisher must not write to a body after it has published it.
 */
export function createMemoryBus(options: MemoryBusOptions = {}): Bus {
  const { maxQueueBytes = 64 << 20, maxDeadBytes = 16 << 20, closeTimeoutMs = 5_000 } = options;
  const queues = new Map<string, Queue<Uint8Array>>();
  const letters = new Queue<DeadLetter>((letter) => letter.body.length, maxDeadBytes);
  let open = true;

  const requireOpen = () => {
    if (!open) throw fail(ErrorReason.UNAVAILABLE, "the bus is closed");
  };
  const addDeadLetter = (queue: string, reason: string, body: Uint8Array) =>
    letters.push({ queue, reason, body });

  const queueOf = (name: string): Queue<Uint8Array> => {
    let queue = queues.get(name);
    if (!queue) {
      queue = new Queue(
        (body) => body.length,
        maxQueueBytes,
        (body) => addDeadLetter(name, "maxlen", body),
      );
      queues.set(name, queue);
    }
    return queue;
  };

  return {
    system: "memory",
    async publish(name, body, signal) {
      requireOpen();
      if (signal.aborted)
        throw fail(ErrorReason.UNAVAILABLE, "publish was aborted", { cause: signal.reason });
      const queue = queues.get(name);
      if (!queue) return "unroutable";
      queue.push(body);
      return "confirmed";
    },
    async consume(name, take) {
      requireOpen();
      const rejected = (body: Uint8Array) => addDeadLetter(name, "rejected", body);
      return queueOf(name).consume(take, rejected, closeTimeoutMs);
    },
    async consumeDeadLetters(take) {
      requireOpen();
      return letters.consume(take, () => {}, closeTimeoutMs);
    },
    connected: () => open,
    ready: () => open,
    async close() {
      open = false;
      await Promise.all([letters, ...queues.values()].map((queue) => queue.closeConsumers()));
    },
  };
}

/** A FIFO queue whose consumers take one item at a time. At the bound it drops its oldest items. */
class Queue<T> {
  readonly #sizeOf: (item: T) => number;
  readonly #maxBytes: number;
  readonly #dropped: (item: T) => void;
  readonly #consumers = new Set<Consumer>();
  readonly #wakeups: (() => void)[] = [];
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
    this.#wakeups.shift()?.();
  }

  consume(
    take: (item: T) => Promise<void>,
    rejected: (item: T) => void,
    timeoutMs: number,
  ): Consumer {
    let closing = false;
    let inProgress: { item: T; done: boolean } | undefined;

    const run = async () => {
      while (!closing) {
        const item = this.#shift();
        if (item === undefined) {
          await new Promise<void>((resolve) => this.#wakeups.push(resolve));
          continue;
        }
        const current = { item, done: false };
        inProgress = current;
        const taken = await succeeds(take, item);
        // Race: `close` timed out during the delivery and returned the item to the queue.
        if (current.done) return;
        current.done = true;
        inProgress = undefined;
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
          for (const wake of this.#wakeups.splice(0)) wake();
          if (inProgress) await endsWithin(timeoutMs, running);
          if (!inProgress) return;
          inProgress.done = true;
          this.#unshift(inProgress.item);
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
    // Release the item: bodies are large, and the bound covers only waiting items.
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
    this.#wakeups.shift()?.();
  }
}

/** Runs `take`; false when it rejects or throws. */
async function succeeds<T>(take: (item: T) => Promise<void>, item: T): Promise<boolean> {
  try {
    await take(item);
    return true;
  } catch {
    return false;
  }
}
