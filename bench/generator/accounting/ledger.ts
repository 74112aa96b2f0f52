import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { MessageKey } from "../dialects/key.ts";
import type { Refusal } from "../dialects/refusal.ts";
import type { Load } from "../timing/load.ts";
import { type DeliveryCounts, noDeliveryCounts, ReceivedMessages } from "./received-messages.ts";
import { SenderOrder } from "./sender-order.ts";

/** Reasons of refusals after which the message may be retried. */
const RETRYABLE_REASONS = new Set([
  ErrorReason.OVERLOADED,
  ErrorReason.UNAVAILABLE,
  ErrorReason.RATE_LIMITED,
]);
/** Minimum retry delay, as in the client; shorter delays of a refusal are raised to it. */
const MIN_RETRY_MS = 50;

/** Counts since the start. */
export interface Counts extends DeliveryCounts {
  /** Messages sent; retries do not count. */
  sent: number;
  accepted: number;
  /** Refused and not retried. */
  refused: number;
  /** Refusals by reason, retried or not. */
  refusals: Record<string, number>;
  /** Refusals with OVERLOADED that do not state a retry delay. */
  withoutRetryAfter: number;
  /** Messages that are in the log after a later message of the same device, without having been retried. */
  overtaken: number;
  /** Deliveries of messages whose sender is not the device's partner. */
  fromWrongSender: number;
  syncRequired: number;
  /** Sessions that the server ended, by code. */
  ended: Record<string, number>;
}

export const noCounts = (): Counts => ({
  ...noDeliveryCounts(),
  sent: 0,
  accepted: 0,
  refused: 0,
  refusals: {},
  withoutRetryAfter: 0,
  overtaken: 0,
  fromWrongSender: 0,
  syncRequired: 0,
  ended: {},
});

/** Index of the other device of a pair: 0 and 1, 2 and 3 … */
export const partnerOf = (index: number): number => index ^ 1;

/** Accounts for every message that the devices of a generator send and receive. */
export class Ledger {
  readonly counts = noCounts();
  readonly #shared: boolean;
  /** By index of the receiver. */
  readonly #received: ReceivedMessages[] = [];
  /** By index of the sender. */
  readonly #orders: SenderOrder[] = [];

  /** `shared`: every device receives the messages of all others; else those of its partner. */
  constructor({ shared }: { readonly shared: boolean }) {
    this.#shared = shared;
  }

  /** Adds a device. A reconnecting device keeps its counts. */
  open(index: number): void {
    this.#received[index] ??= new ReceivedMessages(this.counts);
  }

  /** Records a delivery; true when it is the first delivery of its message and the sender is right. */
  delivered(index: number, { user, number }: Readonly<MessageKey>, sequence: number): boolean {
    // A group delivers a device's own messages too, and so does a redelivery from the log.
    if (user === index) return false;
    if (!this.#shared && user !== partnerOf(index)) {
      this.counts.fromWrongSender++;
      return false;
    }
    if (!this.#received[index]!.deliver(number, sequence)) return false;
    if (this.#orderOf(user).isOutOfOrder(number, sequence)) this.counts.overtaken++;
    return true;
  }

  /**
   * Records the refusal of a send. Returns the retry delay, milliseconds; undefined when the message is not
   * retried. `key` is undefined when the server could not read the message.
   */
  refused(
    key: Readonly<MessageKey> | undefined,
    { reason, retryAfterMs }: Refusal,
    load: Load | undefined,
  ): number | undefined {
    const { counts } = this;
    const name = ErrorReason[reason] ?? String(reason);
    counts.refusals[name] = (counts.refusals[name] ?? 0) + 1;
    // The contract requires a retry delay with OVERLOADED: without one, devices would retry immediately.
    if (reason === ErrorReason.OVERLOADED && retryAfterMs === 0) counts.withoutRetryAfter++;
    if (load?.kind !== "window" || key === undefined || !RETRYABLE_REASONS.has(reason)) {
      counts.refused++;
      return undefined;
    }
    this.#orderOf(key.user).retried(key.number);
    return Math.max(MIN_RETRY_MS, retryAfterMs);
  }

  /** The server ended a session. */
  ended(code: number, reason: string): void {
    const name = `${code} ${reason}`.trim();
    this.counts.ended[name] = (this.counts.ended[name] ?? 0) + 1;
  }

  #orderOf(user: number): SenderOrder {
    this.#orders[user] ??= new SenderOrder();
    return this.#orders[user];
  }
}
