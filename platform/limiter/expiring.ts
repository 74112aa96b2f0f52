/** Number of entries below which nothing is evicted. */
const MIN_SWEEP_SIZE = 1_024;

/** Share of the maximum number of entries that is kept when the maximum is reached. */
const KEPT_SHARE = 7 / 8;

/** Bound of the number of entries, for keys that a stranger may choose. */
export interface ExpiringBound {
  readonly maxEntries: number;
  /** Called with the number of live entries that were evicted before their expiry. */
  readonly evicted: (count: number) => void;
}

/**
 * Values with an expiry. The memory stays within a constant factor of the live values, and within
 * the bound. At the bound, the entries that were set longest ago are evicted.
 */
export interface Expiring<T> {
  get(key: string): T | undefined;
  /** Stores the value until the clock reaches `untilMs`. */
  set(key: string, value: T, untilMs: number): void;
  delete(key: string): void;
  clear(): void;
  /** Number of entries in memory, including expired ones that are not evicted yet. */
  readonly size: number;
}

export function createExpiring<T>(
  now: () => number,
  { maxEntries, evicted }: ExpiringBound,
): Expiring<T> {
  const entries = new Map<string, { value: T; untilMs: number }>();
  let sweepAtSize = Math.min(MIN_SWEEP_SIZE, maxEntries);

  /** Evicts expired entries whenever the map has doubled: constant amortised cost per `set`. */
  function sweep(): void {
    const time = now();
    for (const [key, { untilMs }] of entries) if (untilMs <= time) entries.delete(key);
    if (sweepAtSize === maxEntries) evictOldest();
    sweepAtSize = Math.min(maxEntries, Math.max(MIN_SWEEP_SIZE, 2 * entries.size));
  }

  /** Leaves room for many entries, so that the next sweep is far. */
  function evictOldest(): void {
    const surplus = entries.size - Math.floor(maxEntries * KEPT_SHARE);
    if (surplus <= 0) return;
    let left = surplus;
    for (const key of entries.keys()) {
      if (left-- === 0) break;
      entries.delete(key);
    }
    evicted(surplus);
  }

  return {
    get(key) {
      const found = entries.get(key);
      return found && found.untilMs > now() ? found.value : undefined;
    },
    set(key, value, untilMs) {
      // A map keeps the order of insertion: an entry that is set again becomes the newest.
      entries.delete(key);
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
