import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Published } from "./bus.ts";

/** The part of a broker channel with confirms that publishing needs. */
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
  /** Maximum publishes in flight: written, neither confirmed nor aborted. Further ones wait. */
  readonly maxUnconfirmed: number;
  /** Maximum publishes that wait to be written; further ones are rejected with UNAVAILABLE. */
  readonly maxWaiting: number;
}

interface Publish {
  readonly queue: string;
  /** Released when the body is written: the channel then has its own copy. */
  body: Buffer | undefined;
  readonly settle: (result: Published | Error) => void;
  /**
   * "returned": the broker reported that there is no such queue. "aborted": aborted after it was
   * written, and counted against its queue. "abortedWhileBlocked": the same, but not counted,
   * because the broker blocked all publishes.
   */
  state: "waiting" | "written" | "returned" | "aborted" | "abortedWhileBlocked";
}

/**
 * The publishes in flight to the broker over one connection: bounded, in order, each until its
 * confirm. A publish that is aborted after it was written no longer counts against the bound. Until
 * the broker confirms it, its queue counts as stuck, and further publishes to that queue are
 * rejected. So a stuck queue holds only the publishes that were in flight when it got stuck, and
 * other queues are not blocked. A publish that is aborted while the broker blocks all publishes
 * does not make its queue stuck.
 */
export class Outbound {
  readonly #options: OutboundOptions;
  readonly #channel: ConfirmingChannel;
  readonly #unconfirmed = new Map<string, Publish>();
  readonly #waiting = new Set<Publish>();
  /** Number of aborted, unconfirmed publishes by queue; only queues that have some are stuck. */
  readonly #abortedByQueue = new Map<string, number>();
  /** Number of unconfirmed publishes in both aborted states. */
  #aborted = 0;
  #count = 0;
  #state: "flowing" | "blocked" | "broken" = "flowing";

  constructor(channel: ConfirmingChannel, options: OutboundOptions) {
    this.#channel = channel;
    this.#options = options;
  }

  /** Whether the broker blocks all publishes. */
  get blocked(): boolean {
    return this.#state === "blocked";
  }

  publish(queue: string, body: Uint8Array, signal: AbortSignal): Promise<Published> {
    if (signal.aborted) return Promise.reject(abortedError(signal));
    if (this.#state === "broken") return Promise.reject(brokenError());
    if (this.#waiting.size >= this.#options.maxWaiting)
      return Promise.reject(
        fail(ErrorReason.UNAVAILABLE, "too many publishes wait for the broker"),
      );
    const { promise, resolve, reject } = Promise.withResolvers<Published>();
    const abort = () => {
      publish.settle(abortedError(signal));
      this.#abandon(publish);
    };
    // No closure may reference the body: the closures live until the confirm.
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
    this.#writeWaiting();
    return promise;
  }

  /** The broker returned a body because there is no such queue. Its confirm follows. */
  returned(messageId: string): void {
    const publish = this.#unconfirmed.get(messageId);
    if (publish?.state === "written") publish.state = "returned";
  }

  /**
   * The broker blocks all publishes because it lacks memory or disk space: nothing is written until
   * `unblock`.
   */
  block(): void {
    if (this.#state === "flowing") this.#state = "blocked";
  }

  unblock(): void {
    if (this.#state !== "blocked") return;
    this.#state = "flowing";
    this.#writeWaiting();
  }

  /** The connection broke: unconfirmed bodies may or may not have arrived. */
  break(cause: unknown): void {
    this.#state = "broken";
    const pending = [...this.#unconfirmed.values(), ...this.#waiting];
    this.#unconfirmed.clear();
    this.#waiting.clear();
    this.#abortedByQueue.clear();
    this.#aborted = 0;
    for (const publish of pending) publish.settle(brokenError(cause));
  }

  /** The caller no longer waits for this publish. */
  #abandon(publish: Publish): void {
    if (this.#waiting.delete(publish)) return;
    this.#aborted++;
    publish.state = this.#state === "blocked" ? "abortedWhileBlocked" : "aborted";
    if (publish.state === "aborted") this.#countStuck(publish.queue, 1);
    this.#writeWaiting();
  }

  #countStuck(queue: string, count: 1 | -1): void {
    const aborted = (this.#abortedByQueue.get(queue) ?? 0) + count;
    if (aborted > 0) this.#abortedByQueue.set(queue, aborted);
    else this.#abortedByQueue.delete(queue);
  }

  #writeWaiting(): void {
    for (const publish of this.#waiting) {
      if (this.#state !== "flowing") return;
      if (this.#unconfirmed.size - this.#aborted >= this.#options.maxUnconfirmed) return;
      this.#waiting.delete(publish);
      if (this.#abortedByQueue.size > 0 && this.#abortedByQueue.has(publish.queue))
        publish.settle(stuckError());
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
      if (publish.state === "aborted" || publish.state === "abortedWhileBlocked") {
        this.#aborted--;
        if (publish.state === "aborted") this.#countStuck(publish.queue, -1);
      } else if (refusal) publish.settle(brokenError(refusal));
      else publish.settle(publish.state === "returned" ? "unroutable" : "confirmed");
      this.#writeWaiting();
    };
    const options = { persistent: true, mandatory: true, messageId };
    try {
      this.#channel.publish(this.#options.exchange, publish.queue, body, options, confirmed);
    } catch (cause) {
      // The channel is closed, and its connection will be closed too.
      confirmed(cause);
    }
  }
}

function abortedError(signal: AbortSignal): Error {
  return fail(ErrorReason.UNAVAILABLE, "publish was aborted", { cause: signal.reason });
}

function stuckError(): Error {
  return fail(
    ErrorReason.UNAVAILABLE,
    "the broker has not confirmed earlier publishes to the queue",
  );
}

function brokenError(cause?: unknown): Error {
  return fail(ErrorReason.UNAVAILABLE, "the broker cannot be reached", { cause });
}
