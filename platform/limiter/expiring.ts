/** Number of entries below which nothing is evicted. */
const MIN_SWEEP_SIZE = 1_024;

/** Values with an expiry. The memory stays within a constant factor of the live values. */
export interface Expiring<T> {
  get(key: string): T | undefined;
  /** Stores the value until the clock reaches `untilMs`. */
  set(key: string, value: T, untilMs: number): void;
  delete(key: string): void;
  clear(): void;
  /** Number of entries in memory, including expired ones that are not evicted yet. */
  readonly size: number;
}

export function createExpiring<T>(now: () => number): Expiring<T> {
  const entries = new Map<string, { value: T; untilMs: number }>();
  let sweepAtSize = MIN_SWEEP_SIZE;

  /** Evicts expired entries whenever the map has doubled: constant amortised cost per `set`. */
  function sweep(): void {
    const time = now();
    for (const [key, { untilMs }] of entries) if (untilMs <= time) entries.delete(key);
    sweepAtSize = Math.max(MIN_SWEEP_SIZE, 2 * entries.size);
  }

  return {
    get(key) {
      const found = entries.get(key);
      return found && found.untilMs > now() ? found.value : undefined;
    },
    set(key, value, untilMs) {
      entries.set(key, { value, untilMs });
      if (entries.size >= sweepAtSize) sweep();
    },
    delete: (key) => void entries.delete(key),
    clear: () => entries.clear(),
    get size() {
      return entries.size;
    },
  };
}
