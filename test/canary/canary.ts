import type { Clock } from "#platform/clock.ts";
import { type ErrorCounts, RepeatedAction } from "./repeated-action.ts";
import type { Sample } from "./samples.ts";

const SEND_INTERVAL_MS = 200;
const READ_INTERVAL_MS = 1_000;
/** Time-out for the last answers and deliveries after the end, ms. */
const FINISH_TIMEOUT_MS = 30_000;

/** Actions of honest users during an attack. */
export interface CanaryActions {
  /** Sends a message. Resolves when the server has acknowledged it. */
  send(text: string): Promise<unknown>;
  /** Reads a user. */
  getUser(): Promise<unknown>;
  /** Calls back with each text that the other device receives. */
  onText(arrived: (text: string) => void): void;
}

/** Measurements of a canary. */
export interface CanaryRecord {
  /** From the send to the acknowledgement, also of sends that failed. */
  readonly acknowledged: readonly Sample[];
  /** From the send to the other device. */
  readonly delivered: readonly Sample[];
  readonly reads: readonly Sample[];
  /** Failed sends and reads by reason. */
  readonly errors: { readonly send: ErrorCounts; readonly read: ErrorCounts };
  /** Sends and reads that had no answer at the end. */
  readonly unanswered: number;
  /** Messages that were acknowledged and never delivered. */
  readonly lost: number;
  /** Messages that were delivered more than once. */
  readonly duplicated: number;
}

/**
 * Honest traffic whose latency shows how much an attack disturbs others: a message five times a
 * second, and a read once a second.
 */
export class Canary {
  readonly #clock: Clock;
  readonly #sends: RepeatedAction;
  readonly #reads: RepeatedAction;
  readonly #delivered: Sample[] = [];
  /** When each message that was not delivered yet was sent, by its text. */
  readonly #sentAt = new Map<string, number>();
  /** Messages that were acknowledged and not delivered yet. */
  readonly #missing = new Set<string>();
  #duplicated = 0;
  #complete = () => {};

  constructor({ actions, clock }: { actions: CanaryActions; clock: Clock }) {
    this.#clock = clock;
    this.#sends = new RepeatedAction({
      clock,
      intervalMs: SEND_INTERVAL_MS,
      action: async (number) => {
        const text = `canary ${number}`;
        this.#sentAt.set(text, clock.elapsed());
        await actions.send(text);
        if (this.#sentAt.has(text)) this.#missing.add(text);
      },
    });
    this.#reads = new RepeatedAction({
      clock,
      intervalMs: READ_INTERVAL_MS,
      action: () => actions.getUser(),
    });
    actions.onText((text) => this.#arrived(text));
  }

  start(): void {
    this.#sends.start();
    this.#reads.start();
  }

  /** Stops. Resolves when everything is answered and delivered, or after a time-out. */
  async finish(): Promise<CanaryRecord> {
    this.#sends.stop();
    this.#reads.stop();
    const timedOut = Promise.withResolvers<void>();
    const timer = this.#clock.after(FINISH_TIMEOUT_MS, timedOut.resolve);
    await Promise.race([this.#finished(), timedOut.promise]);
    timer.stop();
    return {
      acknowledged: [...this.#sends.samples],
      delivered: [...this.#delivered],
      reads: [...this.#reads.samples],
      errors: { send: { ...this.#sends.errors }, read: { ...this.#reads.errors } },
      unanswered: this.#sends.inFlight + this.#reads.inFlight,
      lost: this.#missing.size,
      duplicated: this.#duplicated,
    };
  }

  async #finished(): Promise<void> {
    await Promise.all([this.#sends.settled(), this.#reads.settled()]);
    if (this.#missing.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#complete = resolve;
    });
  }

  #arrived(text: string): void {
    const atMs = this.#sentAt.get(text);
    if (atMs === undefined) {
      this.#duplicated += 1;
      return;
    }
    this.#sentAt.delete(text);
    this.#missing.delete(text);
    this.#delivered.push({ atMs, ms: this.#clock.elapsed() - atMs });
    if (this.#missing.size === 0) this.#complete();
  }
}
