import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Published } from "./bus.ts";

/** What of a confirming channel of the broker is needed to publish. */
export interface ConfirmingChannel {
  publish(
    exchange: string,
    queue: string,
    body: Buffer,
    options: { persistent: boolean; mandatory: boolean; messageId: string },
    confirmed: (refusal: unknown) => void,
  ): boolean;
}

export interface OutboundOptions {
  readonly exchange: string;
  /** Publishes written and neither confirmed nor aborted, at most; further ones wait. */
  readonly maxUnconfirmed: number;
  /** Publishes that wait for their turn, at most; further ones are refused. */
  readonly maxWaiting: number;
}

interface Publish {
  readonly queue: string;
  /** Until it is written: then the channel has its own copy. */
  body: Buffer | undefined;
  readonly settle: (result: Published | Error) => void;
  state: "waiting" | "written" | "returned" | "late" | "excused";
}

/**
 * What is on its way to the broker over one connection: bounded, in order, each until confirmed. A
 * publish that was written and aborted is late until the broker confirms it after all: it takes up no
 * room, but its queue is refused whatever else is for it, so that there are never more late ones to a
 * queue than were on their way when it got stuck, and the others flow. While the broker has no room it is
 * not the queue that is stuck: what is aborted then is excused.
 */
export class Outbound {
  readonly #options: OutboundOptions;
  readonly #channel: ConfirmingChannel;
  readonly #unconfirmed = new Map<string, Publish>();
  readonly #waiting = new Set<Publish>();
  /** How many publishes to a queue are late and not excused; only queues that have some. */
  readonly #lateByQueue = new Map<string, number>();
  /** Late and excused ones. */
  #late = 0;
  #count = 0;
  #state: "flowing" | "blocked" | "broken" = "flowing";

  constructor(channel: ConfirmingChannel, options: OutboundOptions) {
    this.#channel = channel;
    this.#options = options;
  }

  publish(queue: string, body: Uint8Array, signal: AbortSignal): Promise<Published> {
    if (signal.aborted) return Promise.reject(aborted(signal));
    if (this.#state === "broken") return Promise.reject(broken());
    if (this.#waiting.size >= this.#options.maxWaiting)
      return Promise.reject(fail(ErrorReason.UNAVAILABLE, "too much waits for the broker"));
    const { promise, resolve, reject } = Promise.withResolvers<Published>();
    const abort = () => {
      publish.settle(aborted(signal));
      this.#abandon(publish);
    };
    // No closure names the body: they live until the confirm.
    const publish: Publish = {
      queue,
      body: Buffer.from(body.buffer, body.byteOffset, body.byteLength),
      settle(result) {
        signal.removeEventListener("abort", abort);
        if (result instanceof Error) reject(result);
        else resolve(result);
      },
      state: "waiting",
    };
    signal.addEventListener("abort", abort);
    this.#waiting.add(publish);
    this.#flow();
    return promise;
  }

  /** The broker gave a body back: no queue took it. Its confirm follows. */
  returned(messageId: string): void {
    const publish = this.#unconfirmed.get(messageId);
    if (publish?.state === "written") publish.state = "returned";
  }

  /** The broker has no room, for now: nothing is written until it has. */
  block(): void {
    if (this.#state === "flowing") this.#state = "blocked";
  }

  unblock(): void {
    if (this.#state !== "blocked") return;
    this.#state = "flowing";
    this.#flow();
  }

  /** The connection is gone: whatever was not confirmed may or may not have arrived. */
  break(cause: unknown): void {
    this.#state = "broken";
    const pending = [...this.#unconfirmed.values(), ...this.#waiting];
    this.#unconfirmed.clear();
    this.#waiting.clear();
    this.#lateByQueue.clear();
    this.#late = 0;
    for (const publish of pending) publish.settle(broken(cause));
  }

  /** Nobody waits for this publish any more. */
  #abandon(publish: Publish): void {
    if (this.#waiting.delete(publish)) return;
    this.#late++;
    publish.state = this.#state === "blocked" ? "excused" : "late";
    if (publish.state === "late") this.#countStuck(publish.queue, 1);
    this.#flow();
  }

  #countStuck(queue: string, count: 1 | -1): void {
    const late = (this.#lateByQueue.get(queue) ?? 0) + count;
    if (late > 0) this.#lateByQueue.set(queue, late);
    else this.#lateByQueue.delete(queue);
  }

  #flow(): void {
    for (const publish of this.#waiting) {
      if (this.#state !== "flowing") return;
      if (this.#unconfirmed.size - this.#late >= this.#options.maxUnconfirmed) return;
      this.#waiting.delete(publish);
      if (this.#lateByQueue.size > 0 && this.#lateByQueue.has(publish.queue))
        publish.settle(stuck());
      else this.#write(publish);
    }
  }

  #write(publish: Publish): void {
    const messageId = String(++this.#count);
    const body = publish.body!;
    publish.body = undefined;
    publish.state = "written";
    this.#unconfirmed.set(messageId, publish);
    const confirmed = (refusal: unknown) => {
      if (!this.#unconfirmed.delete(messageId)) return;
      if (publish.state === "late" || publish.state === "excused") {
        this.#late--;
        if (publish.state === "late") this.#countStuck(publish.queue, -1);
      } else if (refusal) publish.settle(broken(refusal));
      else publish.settle(publish.state === "returned" ? "unroutable" : "confirmed");
      this.#flow();
    };
    const options = { persistent: true, mandatory: true, messageId };
    try {
      this.#channel.publish(this.#options.exchange, publish.queue, body, options, confirmed);
    } catch (cause) {
      // The channel has closed, and the connection goes with it.
      confirmed(cause);
    }
  }
}

function aborted(signal: AbortSignal): Error {
  return fail(ErrorReason.UNAVAILABLE, "publish was aborted", { cause: signal.reason });
}

function stuck(): Error {
  return fail(
    ErrorReason.UNAVAILABLE,
    "the broker has not confirmed what the queue was sent before",
  );
}

function broken(cause?: unknown): Error {
  return fail(ErrorReason.UNAVAILABLE, "the broker cannot be reached", { cause });
}
