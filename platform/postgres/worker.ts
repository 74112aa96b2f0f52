import type { Timer } from "#platform/clock.ts";
import { leaseWorker, type WorkerLease, type WorkerOptions } from "./workers.ts";

/** A worker number for as long as the process lives, though not always the same one. */
export interface HeldWorker {
  /** 0 to 1023. Throws UNAVAILABLE while there is none. */
  number(): number;
  /** Gives the number back. Idempotent. */
  release(): Promise<void>;
}

const AGAIN_MS = 1_000;

/**
 * Leases a worker number, and another one whenever the lease was lost, such as by a laptop that
 * slept or a database that was away. Throws when there is none at the start.
 */
export async function holdWorker(options: Omit<WorkerOptions, "lost">): Promise<HeldWorker> {
  const { clock, log } = options;
  let released = false;
  let timer: Timer | undefined;
  let lease: WorkerLease = await leaseWorker({ ...options, lost: again });

  function again(): void {
    if (released) return;
    leaseWorker({ ...options, lost: again }).then(
      async (next) => {
        if (released) return next.release();
        lease = next;
      },
      (err: unknown) => {
        log.warn({ event: "worker_not_leased", err });
        if (!released) timer = clock.after(AGAIN_MS, again);
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
