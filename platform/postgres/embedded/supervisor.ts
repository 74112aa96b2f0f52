import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { pause } from "#platform/waiting.ts";
import type { Postmaster } from "./postmaster.ts";

/** Back-off before each attempt to restart PostgreSQL, milliseconds. After the last one, it stays down. */
const DELAYS_MS = [0, 1_000, 2_000, 4_000, 8_000];
/** A PostgreSQL that ran this long was healthy: the next restart begins with the first delay. */
const HEALTHY_MS = 60_000;
const ENDED = `PostgreSQL has ended, and ${DELAYS_MS.length} attempts to restart it failed.`;

export interface SupervisorOptions {
  /** The running PostgreSQL. */
  readonly first: Postmaster;
  /** Starts it again with the same address. The signal ends a start that is not finished. */
  readonly start: (signal: AbortSignal) => Promise<Postmaster>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A PostgreSQL that is restarted when it exits. */
export interface Supervised {
  /**
   * Resolves with an error for operators when PostgreSQL has exited and cannot be restarted. Stays
   * pending otherwise.
   */
  readonly failed: Promise<Error>;
  /** Stops PostgreSQL, and restarts it no more. Idempotent. */
  stop(): Promise<void>;
}

/** Restarts PostgreSQL whenever it exits: five attempts, with 15 s of back-off in total. */
export function supervise({ first, start, clock, log }: SupervisorOptions): Supervised {
  const stopping = new AbortController();
  const { signal } = stopping;
  const { promise: failed, resolve: fail } = Promise.withResolvers<Error>();
  let current = first;
  /** Attempts to restart it since it was last healthy. */
  let attempts = 0;

  /** Makes attempts until one succeeds; returns false when there is none left, or at a stop. */
  async function restart(exit: string): Promise<boolean> {
    for (let reason = exit; ; ) {
      const delayMs = DELAYS_MS[attempts];
      if (delayMs === undefined) {
        fail(new Error(`${ENDED} ${reason}`));
        return false;
      }
      attempts += 1;
      if (delayMs > 0) await pause(clock, delayMs, signal);
      if (signal.aborted) return false;
      try {
        const restarted = await start(signal);
        if (signal.aborted) {
          await restarted.stop();
          return false;
        }
        current = restarted;
        log.warn({ event: "postgres_restarted", attempts });
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        reason = error instanceof Error ? error.message : String(error);
        log.error({ event: "postgres_not_restarted", attempts, err: error });
      }
    }
  }

  async function watch(): Promise<void> {
    for (;;) {
      const startedAt = clock.elapsed();
      const exit = await current.exited;
      if (signal.aborted) return;
      log.error({ event: "postgres_exited", ...exit });
      if (clock.elapsed() - startedAt >= HEALTHY_MS) attempts = 0;
      if (!(await restart(`It exited with ${exit.signal ?? `code ${exit.code}`}.`))) return;
    }
  }

  const watching = watch();
  let stopped: Promise<void> | undefined;
  return {
    failed,
    stop() {
      stopping.abort();
      stopped ??= Promise.all([current.stop(), watching]).then(() => {});
      return stopped;
    },
  };
}
