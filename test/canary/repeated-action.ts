import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import { LuckyError } from "../../client/error.ts";
import type { Sample } from "./samples.ts";

/** Failed actions by reason, or by message when the server gave no reason. */
export type ErrorCounts = Readonly<Record<string, number>>;

export interface RepeatedActionOptions {
  readonly clock: Clock;
  readonly intervalMs: number;
  /** One action; `number` counts from 0. */
  readonly action: (number: number) => Promise<unknown>;
}

/**
 * Starts an action at a fixed interval, however long the earlier ones take, and measures each. A failed
 * action is a sample too, and an error.
 */
export class RepeatedAction {
  readonly samples: Sample[] = [];
  readonly #errors: Record<string, number> = {};
  readonly #options: RepeatedActionOptions;
  readonly #inFlight = new Set<Promise<void>>();
  #timer: Timer | undefined;
  #started = 0;

  constructor(options: RepeatedActionOptions) {
    this.#options = options;
  }

  get errors(): ErrorCounts {
    return this.#errors;
  }

  /** Actions that have started and not ended. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  start(): void {
    const { clock, intervalMs } = this.#options;
    this.#timer = clock.every(intervalMs, () => {
      const running: Promise<void> = this.#run().finally(() => this.#inFlight.delete(running));
      this.#inFlight.add(running);
    });
  }

  /** Starts no further action. */
  stop(): void {
    this.#timer?.stop();
  }

  /** Resolves when all started actions have ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#inFlight);
  }

  async #run(): Promise<void> {
    const { clock, action } = this.#options;
    const atMs = clock.elapsed();
    try {
      await action(this.#started++);
    } catch (error) {
      const { reason, message } = LuckyError.from(error);
      const label = reason === ErrorReason.UNSPECIFIED ? message : ErrorReason[reason];
      this.#errors[label] = (this.#errors[label] ?? 0) + 1;
    }
    this.samples.push({ atMs, ms: clock.elapsed() - atMs });
  }
}
