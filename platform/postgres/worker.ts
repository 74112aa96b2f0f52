import type { Timer } from "#platform/clock.ts";
import { leaseWorker, type WorkerLease, type WorkerOptions } from "./workers.ts";

/** A worker number for the life of the process. The number may change. */
export interface HeldWorker {
  /** The number, 0 to 1023. Throws UNAVAILABLE while there is none. */
  number(): number;
  /** Releases the number. Idempotent. */
  release(): Promise<void>;
}

const RETRY_MS = 1_000;

/**
 * Leases a worker number. When the lease is lost, because the machine slept or the database was
 * unreachable, it leases another number and retries every second. Throws when the first lease fails.
 */
export async function holdWorker(options: Omit<WorkerOptions, "lost">): Promise<HeldWorker> {
  const { clock, log } = options;
  let released = false;
  let timer: Timer | undefined;
  let lease: WorkerLease = await leaseWorker({ ...options, lost: leaseAnother });

  function leaseAnother(): void {
    if (released) return;
    leaseWorker({ ...options, lost: leaseAnother }).then(
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
    number: () => lease.number,
    async release() {
      released = true;
      timer?.stop();
      await lease.release();
    },
  };
}
