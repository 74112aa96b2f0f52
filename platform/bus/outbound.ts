import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { fail } from "../errors.ts";
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
  /** Publishes written and not confirmed yet, at most; further ones wait for their turn. */
  readonly maxUnconfirmed: number;
  /** Publishes that wait for their turn, at most; further ones are refused. */
  readonly maxWaiting: number;
}

interface Publish {
  readonly queue: string;
  readonly body: Buffer;
  readonly settle: (result: Published | Error) => void;
  returned: boolean;
}

/** What is on its way to the broker over one connection: bounded, in order, each until confirmed. */
export class Outbound {
  readonly #options: OutboundOptions;
  readonly #channel: ConfirmingChannel;
  readonly #unconfirmed = new Map<string, Publish>();
  readonly #waiting = new Set<Publish>();
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
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#waiting.delete(publish);
        publish.settle(aborted(signal));
      };
      const publish: Publish = {
        queue,
        body: Buffer.from(body.buffer, body.byteOffset, body.byteLength),
        settle(result) {
          signal.removeEventListener("abort", abort);
          if (result instanceof Error) reject(result);
          else resolve(result);
        },
        returned: false,
      };
      signal.addEventListener("abort", abort);
      this.#waiting.add(publish);
      this.#flow();
    });
  }

  /** The broker gave a body back: no queue took it. Its confirm follows. */
  returned(messageId: string): void {
    const publish = this.#unconfirmed.get(messageId);
    if (publish) publish.returned = true;
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
    for (const publish of pending) publish.settle(broken(cause));
  }

  #flow(): void {
    for (const publish of this.#waiting) {
      if (this.#state !== "flowing") return;
      if (this.#unconfirmed.size >= this.#options.maxUnconfirmed) return;
      this.#waiting.delete(publish);
      this.#write(publish);
    }
  }

  #write(publish: Publish): void {
    const messageId = String(++this.#count);
    this.#unconfirmed.set(messageId, publish);
    const confirmed = (refusal: unknown) => {
      if (!this.#unconfirmed.delete(messageId)) return;
      if (refusal) publish.settle(broken(refusal));
      else publish.settle(publish.returned ? "unroutable" : "confirmed");
      this.#flow();
    };
    const options = { persistent: true, mandatory: true, messageId };
    try {
      this.#channel.publish(
        this.#options.exchange,
        publish.queue,
        publish.body,
        options,
        confirmed,
      );
    } catch (cause) {
      // The channel has closed, and the connection goes with it.
      confirmed(cause);
    }
  }
}

function aborted(signal: AbortSignal): Error {
  return fail(ErrorReason.UNAVAILABLE, "publish was aborted", { cause: signal.reason });
}

function broken(cause?: unknown): Error {
  return fail(ErrorReason.UNAVAILABLE, "the broker cannot be reached", { cause });
}
