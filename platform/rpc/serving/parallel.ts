/** Runs work, and returns its result. */
export type Run = <T>(work: () => Promise<T>) => Promise<T>;

/** Runs at most `max` works at once. Further ones wait, without a bound, and start in order. */
export function atMost(max: number): Run {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running < max) running++;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      // The next one takes over this place, so that a newcomer cannot overtake it.
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
