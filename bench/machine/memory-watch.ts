import { setTimeout as pause } from "node:timers/promises";
import { type Figures, rounded } from "../command/report.ts";
import { processTreeKib, residentKib } from "./memory.ts";

const KIB_PER_MIB = 1_024;

/** MiB over the time of a run. */
interface MemorySeries {
  readonly name: string;
  readonly pid: number;
  readonly read: (pid: number) => number;
  readonly mib: number[];
}

export interface MemoryWatchOptions {
  /** Names of processes by process id. */
  readonly processes: ReadonlyMap<number, string>;
  /** All processes of this PostgreSQL are read together; undefined for none. */
  readonly postmaster: number | undefined;
  readonly everyMs: number;
}

/** Reads the resident memory of processes again and again until it is stopped. */
export class MemoryWatch {
  readonly #courses: readonly MemorySeries[];
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;

  /** Reads at once, and then every `everyMs`. */
  constructor({ processes, postmaster, everyMs }: MemoryWatchOptions) {
    const courses = [...processes].map(
      ([pid, name]): MemorySeries => ({ name, pid, read: residentKib, mib: [] }),
    );
    if (postmaster !== undefined) {
      courses.push({ name: "postgres", pid: postmaster, read: processTreeKib, mib: [] });
    }
    this.#courses = courses;
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
    for (const { pid, read, mib } of this.#courses) {
      try {
        mib.push(rounded(read(pid) / KIB_PER_MIB) ?? 0);
      } catch {
        // It ended: what it did is missed in the account.
      }
    }
  }
}
