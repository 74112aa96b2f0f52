import type { Memory, Target } from "./target.ts";

/** Part of the samples that is warm-up: caches and compiled code are still growing. */
const WARM_UP = 0.25;

/** Accepted growth after the warm-up, bytes: of the heap, and of all memory. */
const MAX_HEAP_GROWTH = 24 * 1024 * 1024;
const MAX_RESIDENT_GROWTH = 128 * 1024 * 1024;

/**
 * Watches the memory of a server. It compares the smallest values of two periods: the second quarter
 * of the samples and the last one. The smallest ones are those after a garbage collection.
 */
export class MemoryWatch {
  readonly #target: Target;
  readonly #samples: Memory[] = [];

  constructor(target: Target) {
    this.#target = target;
  }

  async sample(): Promise<void> {
    this.#samples.push(await this.#target.memory());
  }

  /** A sentence when the memory was not flat. */
  growth(): string | undefined {
    if (this.#samples.length === 0) return undefined;
    const { before, after } = this.#periods();
    const flat =
      after.heapBytes - before.heapBytes <= MAX_HEAP_GROWTH &&
      after.residentBytes - before.residentBytes <= MAX_RESIDENT_GROWTH;
    return flat ? undefined : `the memory of the server grows: ${this.summary()}`;
  }

  summary(): string {
    if (this.#samples.length === 0) return "its memory was not measured";
    const { before, after } = this.#periods();
    return `heap ${mib(before.heapBytes)} → ${mib(after.heapBytes)} MiB, resident ${mib(before.residentBytes)} → ${mib(after.residentBytes)} MiB`;
  }

  #periods(): { before: Memory; after: Memory } {
    const { length } = this.#samples;
    const from = Math.floor(length * WARM_UP);
    const quarter = Math.ceil((length - from) / 3);
    return {
      before: smallest(this.#samples.slice(from, from + quarter)),
      after: smallest(this.#samples.slice(-quarter)),
    };
  }
}

function smallest(samples: readonly Memory[]): Memory {
  return {
    heapBytes: Math.min(...samples.map(({ heapBytes }) => heapBytes)),
    residentBytes: Math.min(...samples.map(({ residentBytes }) => residentBytes)),
  };
}

const mib = (bytes: number) => Math.round(bytes / 1024 / 1024);
