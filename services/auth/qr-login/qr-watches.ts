import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { AuthConfig } from "../config.ts";
import type { QrRows, QrState } from "./qr-rows.ts";

/** One stream that waits for the next state of a QR login. */
export interface QrWatch {
  /**
   * Resolves when the QR login has left this state, has expired or was deleted. Rejects with the
   * reason of the signal, and with OVERLOADED when a newer watch of the same QR login has begun.
   */
  waitForChange(from: { state: QrState; expiresAtMs: number }): Promise<void>;
  /** Releases the watch's slot. Idempotent. */
  close(): void;
}

/**
 * All watches of QR logins on this instance. Each poll is one query, whatever the number of
 * watches.
 */
export interface QrWatches {
  /**
   * Opens a watch of a QR login. An older watch of the same QR login ends, because a device that lost
   * its stream may reconnect before this instance notices. At `maxQrWatches` it throws OVERLOADED.
   */
  open(hash: Uint8Array<ArrayBuffer>, signal: AbortSignal): QrWatch;
}

interface Watcher {
  readonly hash: Uint8Array<ArrayBuffer>;
  /** The state whose change is awaited; undefined while the watcher is not waiting. */
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
  const watchers = new Map<string, Watcher>();
  const gauge = metrics.gauge("lucky_auth_qr_watches", "WatchQrLogin streams on this instance.");
  let timer: Timer | undefined;
  let polling = false;

  async function poll(): Promise<void> {
    // The previous poll is still in flight: it covers the waiting watchers, or the next one does.
    if (polling) return;
    const waiting = [...watchers].filter(([, { from }]) => from !== undefined);
    if (waiting.length === 0) return;
    polling = true;
    try {
      const found = await rows.statesOf(waiting.map(([, { hash }]) => hash));
      const now = clock.now();
      for (const [id, { from, wake }] of waiting) {
        const current = found.get(id);
        // A watcher may have begun a new wait during the query. The stale result is harmless: the
        // woken caller re-reads the row, and other watchers join the next poll.
        if (!from || !current || current.state !== from.state || current.expiresAtMs <= now) wake();
      }
    } catch (err) {
      log.warn({ event: "qr_watch_failed", err });
      // Expired watchers are woken even while the database is unreachable.
      const now = clock.now();
      for (const [, { from, wake }] of waiting) if (from && from.expiresAtMs <= now) wake();
    } finally {
      polling = false;
    }
  }

  function remove(id: string, watcher: Watcher): void {
    if (watchers.get(id) === watcher) watchers.delete(id);
    gauge.set(watchers.size);
    if (watchers.size > 0) return;
    timer?.stop();
    timer = undefined;
  }

  return {
    open(hash, signal) {
      const id = Buffer.from(hash).toString("hex");
      const older = watchers.get(id);
      if (!older && watchers.size >= config.maxQrWatches) {
        const retryAfterMs = config.qrWatchMs;
        throw fail(ErrorReason.OVERLOADED, "too many watches on this instance", { retryAfterMs });
      }
      const { watcher, waitForChange } = createWatcher(hash);
      const abort = () => {
        watcher.end(signal.reason);
        close();
      };
      const close = () => {
        signal.removeEventListener("abort", abort);
        remove(id, watcher);
      };
      watchers.set(id, watcher);
      const text = "another watch of this QR login has begun";
      older?.end(fail(ErrorReason.OVERLOADED, text, { retryAfterMs: 0 }));
      gauge.set(watchers.size);
      timer ??= clock.every(config.qrWatchMs, () => void poll());
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort);
      return { close, waitForChange };
    },
  };
}

function createWatcher(hash: Uint8Array<ArrayBuffer>): {
  watcher: Watcher;
  waitForChange: QrWatch["waitForChange"];
} {
  let ended: { reason: unknown } | undefined;
  const watcher: Watcher = {
    hash,
    from: undefined,
    wake() {},
    end(reason) {
      ended ??= { reason };
      watcher.wake();
    },
  };
  return {
    watcher,
    waitForChange(from) {
      return new Promise((resolve, reject) => {
        watcher.wake = () => {
          watcher.from = undefined;
          watcher.wake = () => {};
          if (ended) reject(ended.reason);
          else resolve();
        };
        watcher.from = from;
        if (ended) watcher.wake();
      });
    },
  };
}
