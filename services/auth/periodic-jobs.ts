import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";

/** A job that every instance repeats. Concurrent runs on two instances must be harmless. */
export interface PeriodicJob {
  /** Name of the job in the log. */
  readonly name: string;
  /** Pause before the first run, and between the end of a run and the next, milliseconds. */
  readonly pauseMs: number;
  run(): Promise<unknown>;
}

/**
 * Runs jobs until stopped. A failed run is logged, and the job is retried after its usual pause.
 * `stop` resolves when the running jobs have ended.
 */
export function runPeriodicJobs(
  jobs: readonly PeriodicJob[],
  { clock, log }: { clock: Clock; log: Log },
): { stop(): Promise<void> } {
  const timers = new Map<string, Timer>();
  const inFlight = new Set<Promise<void>>();
  let running = true;

  function schedule(job: PeriodicJob): void {
    timers.set(
      job.name,
      clock.after(job.pauseMs, () => {
        const run = job
          .run()
          .then(
            () => {},
            (err: unknown) => log.warn({ event: "periodic_job_failed", job: job.name, err }),
          )
          .finally(() => {
            inFlight.delete(run);
            if (running) schedule(job);
          });
        inFlight.add(run);
      }),
    );
  }
  for (const job of jobs) schedule(job);

  return {
    async stop() {
      running = false;
      for (const timer of timers.values()) timer.stop();
      await Promise.all(inFlight);
    },
  };
}
