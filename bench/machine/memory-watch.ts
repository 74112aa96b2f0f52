import { setTimeout as pause } from "node:timers/promises";
import { rounded } from "../command/report.ts";
import { processTreeKib, residentKib } from "./memory.ts";

const KIB_PER_MIB = 1_024;

/** Memory of a process during a run, MiB. */
interface MemorySeries {
  readonly name: string;
  readonly pid: number;
  readonly read: (pid: number) => number;
  readonly mib: number[];
}

/** First, largest and last reading, MiB. */
export interface MemoryFigures {
  readonly first: number;
  readonly most: number;
  readonly last: number;
}

export interface MemoryWatchOptions {
  /** Names of processes by process id. */
  readonly processes: ReadonlyMap<number, string>;
  /** Main process of a PostgreSQL, whose processes are read together; undefined for none. */
  readonly postmaster: number | undefined;
  readonly everyMs: number;
}

/** Polls the resident memory of processes until it is stopped. */
export class MemoryWatch {
  readonly #series: readonly MemorySeries[];
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;

  /** Reads immediately, and then every `everyMs`. */
  constructor({ processes, postmaster, everyMs }: MemoryWatchOptions) {
    const series = [...processes].map(
      ([pid, name]): MemorySeries => ({ name, pid, read: residentKib, mib: [] }),
    );
    if (postmaster !== undefined) {
      series.push({ name: "postgres", pid: postmaster, read: processTreeKib, mib: [] });
    }
    this.#series = series;
    this.#watching = this.#watch(everyMs);
  }

  /** Stops, and returns MiB by process. */
  async stop(): Promise<Readonly<Record<string, MemoryFigures>>> {
    this.#stop.abort();
    await this.#watching;
    this.#read();
    return Object.fromEntries(
      this.#series.map(({ name, pid, mib }) => {
        const shared = this.#series.some((other) => other.pid !== pid && other.name === name);
        const [first = 0] = mib;
        const figures = { first, most: Math.max(first, ...mib), last: mib.at(-1) ?? 0 };
        return [shared ? `${name}:${pid}` : name, figures];
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
    for (const { pid, read, mib } of this.#series) {
      try {
        mib.push(rounded(read(pid) / KIB_PER_MIB) ?? 0);
      } catch {
        // The process ended; the run reports this as a fault.
      }
    }
  }
}
