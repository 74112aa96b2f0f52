import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { MessageKey } from "../dialects/key.ts";
import type { Refusal } from "../dialects/refusal.ts";
import type { Load } from "../timing/load.ts";
import { Follow, type Follows, noFollows } from "./received-messages.ts";
import { Order } from "./sender-order.ts";

/** Reasons that pass: the message may be sent again. */
const PASSING = new Set([
  ErrorReason.OVERLOADED,
  ErrorReason.UNAVAILABLE,
  ErrorReason.RATE_LIMITED,
]);
/** As the client: whatever a refusal says, a send is not repeated sooner. */
const REPEAT_AT_LEAST_MS = 50;

/** Counts since the start. */
export interface Counts extends Follows {
  /** Each once, however often it was repeated. */
  sent: number;
  accepted: number;
  /** Refused and not repeated. */
  refused: number;
  /** Refused, by reason, repeated or not. */
  refusals: Record<string, number>;
  /** Refused because of overload, without a word about when to come again. */
  withoutRetryAfter: number;
  /** Stand in the log after one that the same device sent later, though they were not repeated. */
  overtaken: number;
  /** Deliveries of messages that somebody else than the device's partner sent. */
  strangers: number;
  syncRequired: number;
  /** Sessions that the server ended, by code. */
  ended: Record<string, number>;
}

export const noCounts = (): Counts => ({
  ...noFollows(),
  sent: 0,
  accepted: 0,
  refused: 0,
  refusals: {},
  withoutRetryAfter: 0,
  overtaken: 0,
  strangers: 0,
  syncRequired: 0,
  ended: {},
});

/** In pairs, whom a device writes to and hears from: 0 and 1, 2 and 3 … */
export const partnerOf = (index: number): number => index ^ 1;

/** Keeps account of every message that the devices of a generator send and get. */
export class Account {
  readonly counts = noCounts();
  readonly #shared: boolean;
  /** By index of the receiver. */
  readonly #follows: Follow[] = [];
  /** By index of the sender. */
  readonly #orders: Order[] = [];

  /** `shared`: every device gets what all others send, or else what its partner sends. */
  constructor({ shared }: { readonly shared: boolean }) {
    this.#shared = shared;
  }

  /** A device is there, perhaps again. */
  open(index: number): void {
    this.#follows[index] ??= new Follow(this.counts);
  }

  /** Takes a delivery; true when it is the first of its message, from whom it should be. */
  delivered(index: number, { user, number }: Readonly<MessageKey>, sequence: number): boolean {
    // One's own come back in a group, and when connect delivers again what the log has.
    if (user === index) return false;
    if (!this.#shared && user !== partnerOf(index)) {
      this.counts.strangers++;
      return false;
    }
    if (!this.#follows[index]!.deliver(number, sequence)) return false;
    if (this.#orderOf(user).isOvertaken(number, sequence)) this.counts.overtaken++;
    return true;
  }

  /**
   * A send was refused. Returns after how many milliseconds it is to be sent again; undefined when it
   * is given up. `key` is undefined when the server could not read the message.
   */
  refused(
    key: Readonly<MessageKey> | undefined,
    { reason, retryAfterMs }: Refusal,
    load: Load | undefined,
  ): number | undefined {
    const { counts } = this;
    const name = ErrorReason[reason] ?? String(reason);
    counts.refusals[name] = (counts.refusals[name] ?? 0) + 1;
    // The contract says when to come again; a device that is not told would come at once.
    if (reason === ErrorReason.OVERLOADED && retryAfterMs === 0) counts.withoutRetryAfter++;
    if (load?.kind !== "window" || key === undefined || !PASSING.has(reason)) {
      counts.refused++;
      return undefined;
    }
    this.#orderOf(key.user).repeated(key.number);
    return Math.max(REPEAT_AT_LEAST_MS, retryAfterMs);
  }

  /** A session was ended by the server. */
  ended(code: number, reason: string): void {
    const name = `${code} ${reason}`.trim();
    this.counts.ended[name] = (this.counts.ended[name] ?? 0) + 1;
  }

  #orderOf(user: number): Order {
    this.#orders[user] ??= new Order();
    return this.#orders[user];
  }
}
