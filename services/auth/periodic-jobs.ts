import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";

/** Something that every instance does again and again. Doing it on two at once is harmless. */
export interface PeriodicJob {
  /** For the log. */
  readonly name: string;
  /** Pause between the end of one run and the next, milliseconds. The first run is after a pause. */
  readonly everyMs: number;
  run(): Promise<unknown>;
}

/** Runs chores until stopped; one that fails is logged and comes again after its pause. */
export function runPeriodicJobs(
  chores: readonly PeriodicJob[],
  { clock, log }: { clock: Clock; log: Log },
): { stop(): Promise<void> } {
  const timers = new Map<string, Timer>();
  const working = new Set<Promise<void>>();
  let running = true;

  function later(chore: PeriodicJob): void {
    timers.set(
      chore.name,
      clock.after(chore.everyMs, () => {
        const work = chore
          .run()
          .then(
            () => {},
            (err: unknown) => log.warn({ event: "chore_failed", chore: chore.name, err }),
          )
          .finally(() => {
            working.delete(work);
            if (running) later(chore);
          });
        working.add(work);
      }),
    );
  }
  for (const chore of chores) later(chore);

  return {
    async stop() {
      running = false;
      for (const timer of timers.values()) timer.stop();
      await Promise.all(working);
    },
  };
}
