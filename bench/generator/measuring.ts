import { Histogram } from "../histogram.ts";
import type { Counts, Measured, Round } from "./api.ts";
import type { MessageKey } from "./key.ts";
import type { Micros } from "./micros.ts";

/** A send that left this much after it was due counts as late. */
const LATE_US = 10_000;

/** What is noted while it measures. */
export class Measuring {
  readonly #micros: Micros;
  readonly #latencies = new Histogram();
  readonly #lateness = new Histogram();
  readonly #rounds = new Map<number, { dueUs: number; devices: number; lastUs: number }>();
  #on = false;
  #beganUs = 0;
  #endedUs = Number.POSITIVE_INFINITY;
  #cpuBefore = process.cpuUsage();
  #lateSends = 0;
  #lateByItself = 0;

  constructor(micros: Micros) {
    this.#micros = micros;
  }

  begin(): void {
    this.#latencies.clear();
    this.#lateness.clear();
    this.#rounds.clear();
    this.#lateSends = 0;
    this.#lateByItself = 0;
    this.#cpuBefore = process.cpuUsage();
    this.#beganUs = this.#micros();
    this.#endedUs = Number.POSITIVE_INFINITY;
    this.#on = true;
  }

  end(counts: Counts): Measured {
    this.#on = false;
    this.#endedUs = this.#micros();
    const { user, system } = process.cpuUsage(this.#cpuBefore);
    return {
      counts,
      effort: {
        elapsedUs: this.#endedUs - this.#beganUs,
        cpuUs: user + system,
        lateSends: this.#lateSends,
        lateByItself: this.#lateByItself,
      },
      latencies: this.#latencies.counts.slice(),
      lateness: this.#lateness.counts.slice(),
    };
  }

  /** Messages left, this much after they were due. */
  sent(lateUs: number, messages: number): void {
    if (!this.#on) return;
    for (let n = 0; n < messages; n++) this.#lateness.add(lateUs);
  }

  /** Messages are due and will leave only now; `busy` when this process was, and not the machine. */
  late(lateUs: number, messages: number, busy: boolean): void {
    if (!this.#on || lateUs < LATE_US) return;
    this.#lateSends += messages;
    if (busy) this.#lateByItself += messages;
  }

  delivered({ timeUs, number }: Readonly<MessageKey>, shared: boolean): void {
    if (!this.#on && !shared) return;
    const nowUs = this.#micros();
    if (this.#on) this.#latencies.add(nowUs - timeUs);
    // The last ones due are followed beyond the end.
    if (!shared || timeUs < this.#beganUs || timeUs > this.#endedUs) return;
    const round = this.#rounds.get(number);
    if (round === undefined) {
      this.#rounds.set(number, { dueUs: timeUs, devices: 1, lastUs: nowUs });
      return;
    }
    round.devices++;
    round.lastUs = nowUs;
  }

  get rounds(): Round[] {
    return [...this.#rounds].map(([number, round]) => ({ number, ...round }));
  }
}
