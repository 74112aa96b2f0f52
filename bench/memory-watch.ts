import { setTimeout as pause } from "node:timers/promises";
import { residentKib } from "./memory.ts";
import { type Figures, rounded } from "./report.ts";

const KIB_PER_MIB = 1_024;

/** MiB of one process of the servers over the time of a run. */
interface Course {
  readonly name: string;
  readonly pid: number;
  readonly mib: number[];
}

/** Reads the resident memory of processes again and again until it is stopped. */
export class MemoryWatch {
  readonly #courses: readonly Course[];
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;

  /** Reads at once, and then every `everyMs`. */
  constructor(processes: ReadonlyMap<number, string>, everyMs: number) {
    this.#courses = [...processes].map(([pid, name]) => ({ name, pid, mib: [] }));
    this.#watching = this.#watch(everyMs);
  }

  /** Ends it; MiB by process: at the start, the most, and at the end. */
  async stop(): Promise<Figures> {
    this.#stop.abort();
    await this.#watching;
    this.#read();
    return Object.fromEntries(
      this.#courses.map(({ name, pid, mib }) => {
        const twice = this.#courses.some((other) => other.pid !== pid && other.name === name);
        const figures = { first: mib[0], most: Math.max(...mib), last: mib.at(-1) };
        return [twice ? `${name}:${pid}` : name, figures];
      }),
    );
  }

  async #watch(everyMs: number): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#read();
      await pause(everyMs, undefined, { signal }).catch(() => undefined);
    }
  }

  #read(): void {
    for (const { pid, mib } of this.#courses) {
      try {
        mib.push(rounded(residentKib(pid) / KIB_PER_MIB) ?? 0);
      } catch {
        // It ended: what it did is missed in the account.
      }
    }
  }
}
