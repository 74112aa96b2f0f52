import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { AuthConfig } from "../config.ts";
import type { QrRows, QrState } from "./qr-rows.ts";

/** One who waits for the next state of a QR login. */
export interface QrWatch {
  /**
   * Resolves when the QR login is not in this state any more, is past its time, or is gone. Rejects
   * with the reason of the signal, and with OVERLOADED when a newer watch of the same QR login has
   * begun.
   */
  changed(from: { state: QrState; expiresAtMs: number }): Promise<void>;
  /** Gives the place up. Idempotent. */
  close(): void;
}

/** All who wait for QR logins on this instance: however many, they cost one query a look. */
export interface QrWatches {
  /**
   * Begins to wait for a QR login; an older watch of the same one ends, since a device that lost its
   * stream comes again before that is noticed here. Throws OVERLOADED at the bound.
   */
  open(hash: Uint8Array<ArrayBuffer>, signal: AbortSignal): QrWatch;
}

interface Waiting {
  readonly hash: Uint8Array<ArrayBuffer>;
  /** What it waits to change; undefined while it is not waiting. */
  from: { state: QrState; expiresAtMs: number } | undefined;
  wake: () => void;
  end(reason: unknown): void;
}

export function createQrWatches({
  config,
  rows,
  clock,
  log,
  metrics,
}: {
  config: Pick<AuthConfig, "qrWatchMs" | "maxQrWatches">;
  rows: Pick<QrRows, "statesOf">;
  clock: Clock;
  log: Log;
  metrics: Metrics;
}): QrWatches {
  const open = new Map<string, Waiting>();
  const gauge = metrics.gauge("lucky_auth_qr_watches", "WatchQrLogin streams on this instance.");
  let timer: Timer | undefined;
  let looking = false;

  async function look(): Promise<void> {
    // The last look is still on its way: those who wait are in it, or in the next one.
    if (looking) return;
    const waiting = [...open].filter(([, { from }]) => from !== undefined);
    if (waiting.length === 0) return;
    looking = true;
    try {
      const found = await rows.statesOf(waiting.map(([, { hash }]) => hash));
      const now = clock.now();
      for (const [id, { from, wake }] of waiting) {
        const state = found.get(id);
        // One that has begun to wait anew meanwhile is in the next look.
        if (!from || !state || state.state !== from.state || state.expiresAtMs <= now) wake();
      }
    } catch (err) {
      log.warn({ event: "qr_watch_failed", err });
      // Whoever is past the time is told so, even if the database is away for long.
      const now = clock.now();
      for (const [, { from, wake }] of waiting) if (from && from.expiresAtMs <= now) wake();
    } finally {
      looking = false;
    }
  }

  function leave(id: string, one: Waiting): void {
    if (open.get(id) === one) open.delete(id);
    gauge.set(open.size);
    if (open.size > 0) return;
    timer?.stop();
    timer = undefined;
  }

  return {
    open(hash, signal) {
      const id = Buffer.from(hash).toString("hex");
      const older = open.get(id);
      if (!older && open.size >= config.maxQrWatches) {
        const retryAfterMs = config.qrWatchMs;
        throw fail(ErrorReason.OVERLOADED, "too many watch on this instance", { retryAfterMs });
      }
      let over: { reason: unknown } | undefined;
      const one: Waiting = {
        hash,
        from: undefined,
        wake() {},
        end(reason) {
          over ??= { reason };
          one.wake();
        },
      };
      const aborted = () => {
        one.end(signal.reason);
        close();
      };
      const close = () => {
        signal.removeEventListener("abort", aborted);
        leave(id, one);
      };
      open.set(id, one);
      older?.end(fail(ErrorReason.OVERLOADED, "another watch of this QR login has begun"));
      gauge.set(open.size);
      timer ??= clock.every(config.qrWatchMs, () => void look());
      if (signal.aborted) aborted();
      else signal.addEventListener("abort", aborted);
      return {
        close,
        changed(from) {
          return new Promise((resolve, reject) => {
            one.wake = () => {
              one.from = undefined;
              one.wake = () => {};
              if (over) reject(over.reason);
              else resolve();
            };
            one.from = from;
            if (over) one.wake();
          });
        },
      };
    },
  };
}
