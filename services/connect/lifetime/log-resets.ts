import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { SweepResponse_Database } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";

export interface LogResetsOptions {
  sessions: Pick<Sessions, "all">;
  clock: Clock;
  log: Log;
  config: { readonly moveSpreadMs: number };
}

/** Interval at which the next part of the sessions is ended, ms. */
const TICK_MS = 50;

/**
 * Ends all sessions after a reset of the log, spread over `moveSpreadMs`. A device keeps the sequences
 * that it has received, and would drop new entries with the same sequences as duplicates; after its next
 * Sync it knows the new epochs.
 */
export class LogResets {
  readonly #options: LogResetsOptions;
  /** By database of the log: its last known epoch. */
  readonly #epochs = new Map<string, bigint>();
  readonly #timers = new Set<Timer>();

  constructor(options: LogResetsOptions) {
    this.#options = options;
  }

  /** Takes the epochs of databases, as of now. */
  observe(databases: readonly Pick<SweepResponse_Database, "databaseId" | "epoch">[]): void {
    let isReset = false;
    for (const { databaseId, epoch } of databases) {
      if ((this.#epochs.get(databaseId) ?? epoch) !== epoch) isReset = true;
      this.#epochs.set(databaseId, epoch);
    }
    if (isReset) this.#endSessions();
  }

  close(): void {
    for (const timer of this.#timers) timer.stop();
  }

  /** Ends the sessions that are open now: later ones sync the new log. */
  #endSessions(): void {
    const { clock, config, log, sessions } = this.#options;
    const open: Session[] = [...sessions.all()];
    log.warn({ event: "log_reset", sessions: open.length });
    const size = Math.ceil((open.length * TICK_MS) / Math.max(config.moveSpreadMs, TICK_MS));
    const timer = clock.every(TICK_MS, () => {
      for (const session of open.splice(0, size))
        session.end(CloseCode.LOG_RESET, "the log was reset: reconnect and sync");
      if (open.length > 0) return;
      timer.stop();
      this.#timers.delete(timer);
    });
    this.#timers.add(timer);
  }
}
