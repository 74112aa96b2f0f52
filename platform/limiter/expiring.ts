const LEAST = 1_024;

/** Values that are there until their time comes. Memory is that of the live ones, within a factor. */
export interface Expiring<T> {
  get(key: string): T | undefined;
  /** Keeps the value until `untilMs` of the clock. */
  set(key: string, value: T, untilMs: number): void;
  delete(key: string): void;
  clear(): void;
  /** How many are held, those that are over and not let go yet included. */
  readonly size: number;
}

export function createExpiring<T>(now: () => number): Expiring<T> {
  const held = new Map<string, { value: T; untilMs: number }>();
  let sweepAt = LEAST;

  /** What is over goes whenever the map has doubled: a constant effort for each that was set. */
  function sweep(): void {
    const time = now();
    for (const [key, { untilMs }] of held) if (untilMs <= time) held.delete(key);
    sweepAt = Math.max(LEAST, 2 * held.size);
  }

  return {
    get(key) {
      const found = held.get(key);
      return found && found.untilMs > now() ? found.value : undefined;
    },
    set(key, value, untilMs) {
      held.set(key, { value, untilMs });
      if (held.size >= sweepAt) sweep();
    },
    delete: (key) => void held.delete(key),
    clear: () => held.clear(),
    get size() {
      return held.size;
    },
  };
}
