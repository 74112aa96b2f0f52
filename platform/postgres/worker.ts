import type { Timer } from "#platform/clock.ts";
import type { IdWindow } from "#platform/ids.ts";
import { leaseWorker, type WorkerLease, type WorkerOptions } from "./workers.ts";

/** A worker number with reserved times, for the life of the process. The number may change. */
export interface HeldWorker {
  /** The number and its times, see `IdsOptions`. Throws UNAVAILABLE while there is none. */
  window(usedMs: number): IdWindow;
  /** Releases the number. Idempotent. */
  release(): Promise<void>;
}

const RETRY_MS = 1_000;

/**
 * Leases a worker number. When the lease is lost, because the machine slept or the database was
 * unreachable, it leases another number and retries every second. Throws when the first lease fails.
 */
export async function holdWorker(
  given: Omit<WorkerOptions, "lost" | "usedMs">,
): Promise<HeldWorker> {
  const { clock, log } = given;
  let usedMs = 0;
  const options = { ...given, usedMs: () => usedMs, lost: leaseAnother };
  let released = false;
  let timer: Timer | undefined;
  let lease: WorkerLease = await leaseWorker(options);

  function leaseAnother(): void {
    if (released) return;
    leaseWorker(options).then(
      async (next) => {
        if (released) return next.release();
        lease = next;
      },
      (err: unknown) => {
        log.warn({ event: "worker_not_leased", err });
        if (!released) timer = clock.after(RETRY_MS, leaseAnother);
      },
    );
  }

  return {
    window(ms) {
      usedMs = ms;
      return lease.window;
    },
    async release() {
      released = true;
      timer?.stop();
      await lease.release();
    },
  };
}
