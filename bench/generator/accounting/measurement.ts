import { Histogram } from "../../statistics/histogram.ts";
import type { MessageKey } from "../dialects/key.ts";
import type { Micros } from "../timing/microsecond-clock.ts";

/** What the generator's process did in a measured time. */
export interface Effort {
  readonly elapsedUs: number;
  readonly cpuUs: number;
}

/** Of the messages that were due in the measured time. Counts of slots: see Histogram. */
export interface Times {
  /** From when a message was due until it was delivered, µs: of all that were until now. */
  readonly latencies: Float64Array;
  /** How late messages were sent, µs. */
  readonly lateness: Float64Array;
}

/** One of the messages that all devices get. */
export interface Round {
  readonly number: number;
  readonly dueUs: number;
  /** How many devices of this generator have it, and since when. */
  readonly devices: number;
  readonly lastUs: number;
}

/**
 * What is noted of messages that are due while it measures: of all of them, however late they leave or
 * arrive. A server that stands still near the end must not get rid of what it delivers afterwards.
 */
export class Measuring {
  readonly #micros: Micros;
  readonly #latencies = new Histogram();
  readonly #lateness = new Histogram();
  readonly #rounds = new Map<number, { dueUs: number; devices: number; lastUs: number }>();
  #beganUs = Number.POSITIVE_INFINITY;
  #endedUs = Number.POSITIVE_INFINITY;
  #cpuBefore = process.cpuUsage();

  constructor(micros: Micros) {
    this.#micros = micros;
  }

  begin(): void {
    this.#latencies.clear();
    this.#lateness.clear();
    this.#rounds.clear();
    this.#cpuBefore = process.cpuUsage();
    this.#beganUs = this.#micros();
    this.#endedUs = Number.POSITIVE_INFINITY;
  }

  /** What is due from now on is not noted. */
  end(): Effort {
    this.#endedUs = this.#micros();
    const { user, system } = process.cpuUsage(this.#cpuBefore);
    return { elapsedUs: this.#endedUs - this.#beganUs, cpuUs: user + system };
  }

  /** Messages left that were due then. */
  sent(dueUs: number, messages: number): void {
    if (!this.#isMeasured(dueUs)) return;
    const lateUs = this.#micros() - dueUs;
    for (let n = 0; n < messages; n++) this.#lateness.add(lateUs);
  }

  /** A message arrived for the first time; of shared ones, at one device. */
  delivered({ timeUs, number }: Readonly<MessageKey>, shared: boolean): void {
    if (!this.#isMeasured(timeUs)) return;
    const nowUs = this.#micros();
    this.#latencies.add(nowUs - timeUs);
    if (!shared) return;
    const round = this.#rounds.get(number);
    if (round === undefined) {
      this.#rounds.set(number, { dueUs: timeUs, devices: 1, lastUs: nowUs });
      return;
    }
    round.devices++;
    round.lastUs = nowUs;
  }

  get times(): Times {
    return {
      latencies: this.#latencies.counts.slice(),
      lateness: this.#lateness.counts.slice(),
    };
  }

  get rounds(): Round[] {
    return [...this.#rounds].map(([number, round]) => ({ number, ...round }));
  }

  #isMeasured(dueUs: number): boolean {
    return dueUs >= this.#beganUs && dueUs < this.#endedUs;
  }
}
