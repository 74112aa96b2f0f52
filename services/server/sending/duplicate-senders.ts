import type { Clock } from "#platform/clock.ts";
import type { AddressedSend } from "./duplicates.ts";

/** Time for which a sender counts as a recent sender of duplicates, ms. */
const DUPLICATE_SENDER_MS = 60_000;
/** Maximum recent senders of duplicates; beyond it the least recent ones are evicted. */
const MAX_DUPLICATE_SENDERS = 10_000;

/** Senders whose sends were duplicates within the last minute. */
export class DuplicateSenders {
  readonly #clock: Clock;
  /** By user id: when the sender is evicted (elapsed ms); least recent first. */
  readonly #untilMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Selects the sends of recent senders of duplicates. Their duplicates are looked up before the
   * append: one duplicate makes the statement fail for the whole batch, so a single sender of
   * constant duplicates would halve the throughput of all users.
   */
  sendsOf<S extends AddressedSend>(sends: readonly S[]): readonly S[] {
    if (this.#untilMs.size === 0) return [];
    const now = this.#clock.elapsed();
    for (const [senderId, until] of this.#untilMs) {
      if (until > now) break;
      this.#untilMs.delete(senderId);
    }
    return sends.filter(({ send }) => this.#untilMs.has(send.senderId));
  }

  /** Adds the senders of duplicates. */
  add(...duplicates: readonly ReadonlySet<AddressedSend>[]): void {
    const until = this.#clock.elapsed() + DUPLICATE_SENDER_MS;
    for (const sends of duplicates)
      for (const { send } of sends) {
        this.#untilMs.delete(send.senderId);
        this.#untilMs.set(send.senderId, until);
      }
    for (const oldest of this.#untilMs.keys()) {
      if (this.#untilMs.size <= MAX_DUPLICATE_SENDERS) break;
      this.#untilMs.delete(oldest);
    }
  }
}
