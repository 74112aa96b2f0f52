import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";

/**
 * Result of a user's check. "skipped": the user has no session here, or another check of the user is
 * running.
 */
export type CheckResult = "complete" | "failed" | "skipped";

export interface RechecksOptions {
  clock: Clock;
  log: Log;
  /** Maximum users that are checked at once. */
  batchCount: number;
  /** Checks a user, and adds the user again when that fails. Never rejects. */
  check: (userId: string) => Promise<CheckResult>;
}

/** Back-off before the first retry, and after a batch with a complete check, ms. */
const FIRST_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 30_000;

/**
 * The users of the instance whose groups could not be read, at most the users with sessions here. They
 * have one back-off together: after it, one batch of them is checked. The next batch follows at once
 * when a check of the batch is complete; otherwise the back-off doubles. So an outage costs few
 * look-ups, however many users wait.
 */
export class Rechecks {
  readonly #options: RechecksOptions;
  /** The users that have waited longest first. */
  readonly #users = new Set<string>();
  #backoffMs = FIRST_BACKOFF_MS;
  #state: { kind: "idle" } | { kind: "waiting"; timer: Timer } | { kind: "running" | "closed" } = {
    kind: "idle",
  };
  #error: unknown;

  constructor(options: RechecksOptions) {
    this.#options = options;
  }

  /** Checks a user again later, because of an error. */
  add(userId: string, error: unknown): void {
    this.#users.add(userId);
    this.#error = error;
    this.#schedule();
  }

  /** Forgets a user whose check is complete. */
  delete(userId: string): void {
    this.#users.delete(userId);
  }

  close(): void {
    if (this.#state.kind === "waiting") this.#state.timer.stop();
    this.#state = { kind: "closed" };
    this.#users.clear();
  }

  #schedule(): void {
    if (this.#state.kind !== "idle" || this.#users.size === 0) return;
    const delayMs = this.#backoffMs * (0.5 + Math.random() / 2);
    const timer = this.#options.clock.after(delayMs, () => void this.#run());
    this.#state = { kind: "waiting", timer };
  }

  async #run(): Promise<void> {
    const { batchCount, check, log } = this.#options;
    this.#state = { kind: "running" };
    const users = this.#users.size;
    log.warn({ event: "memberships_check_failed", users, err: this.#error });
    let anyComplete = false;
    // Users whose checks fail are added again, behind these.
    for (let left = users; left > 0; ) {
      const batch = this.#take(Math.min(left, batchCount));
      if (batch.length === 0) break;
      left -= batch.length;
      const results = await Promise.all(batch.map(check));
      const complete = results.includes("complete");
      anyComplete ||= complete;
      if (!complete && results.includes("failed")) break;
    }
    const growing = !anyComplete && this.#users.size > 0;
    this.#backoffMs = growing ? Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS) : FIRST_BACKOFF_MS;
    this.#reschedule();
  }

  #reschedule(): void {
    if (this.#state.kind === "running") this.#state = { kind: "idle" };
    this.#schedule();
  }

  #take(count: number): string[] {
    const batch: string[] = [];
    for (const userId of this.#users) {
      if (batch.length === count) break;
      batch.push(userId);
      this.#users.delete(userId);
    }
    return batch;
  }
}
