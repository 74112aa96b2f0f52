import { Histogram } from "../../statistics/histogram.ts";
import type { MessageKey } from "../dialects/key.ts";
import type { MicrosecondClock } from "../timing/microsecond-clock.ts";

/** Duration of a measurement, and CPU time of the generator's process during it. */
export interface Effort {
  readonly elapsedUs: number;
  readonly cpuUs: number;
}

/** Times of the messages that were due during the measurement, as counts by slot: see Histogram. */
export interface LatencyCounts {
  /** Time from the due time of a message to its delivery, µs, for all messages delivered so far. */
  readonly latencies: Float64Array;
  /** Time from the due time of a message until it was sent, µs. */
  readonly lateness: Float64Array;
}

/** A message that all devices receive. */
export interface Round {
  readonly number: number;
  readonly dueUs: number;
  /** Number of devices of this generator that received it, and the time of the last of these deliveries. */
  readonly devices: number;
  readonly lastUs: number;
}

/**
 * Records times of all messages that are due during a measurement, however late they are sent or
 * delivered: the late deliveries of a server that stalls near the end must count.
 */
export class Measurement {
  readonly #clockUs: MicrosecondClock;
  readonly #latencies = new Histogram();
  readonly #lateness = new Histogram();
  readonly #rounds = new Map<number, { dueUs: number; devices: number; lastUs: number }>();
  #beganUs = Number.POSITIVE_INFINITY;
  #endedUs = Number.POSITIVE_INFINITY;
  #cpuBefore = process.cpuUsage();

  constructor(clockUs: MicrosecondClock) {
    this.#clockUs = clockUs;
  }

  begin(): void {
    this.#latencies.clear();
    this.#lateness.clear();
    this.#rounds.clear();
    this.#cpuBefore = process.cpuUsage();
    this.#beganUs = this.#clockUs();
    this.#endedUs = Number.POSITIVE_INFINITY;
  }

  /** Ends the measurement: messages that are due from now on are not recorded. */
  end(): Effort {
    this.#endedUs = this.#clockUs();
    const { user, system } = process.cpuUsage(this.#cpuBefore);
    return { elapsedUs: this.#endedUs - this.#beganUs, cpuUs: user + system };
  }

  /** Records that messages with this due time were sent. */
  sent(dueUs: number, messages: number): void {
    if (!this.#isMeasured(dueUs)) return;
    const lateUs = this.#clockUs() - dueUs;
    for (let n = 0; n < messages; n++) this.#lateness.add(lateUs);
  }

  /** Records the first delivery of a message; for a shared message, the first delivery to one device. */
  delivered({ timeUs, number }: Readonly<MessageKey>, shared: boolean): void {
    if (!this.#isMeasured(timeUs)) return;
    const nowUs = this.#clockUs();
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

  get latencies(): LatencyCounts {
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
