import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Refusal, Refused } from "./connection-bounds.ts";

/** Interval of the log lines about connections that were refused for one reason. */
const LINE_INTERVAL_MS = 10_000;

/**
 * Returns a function that reports a refused connection: it counts every one, and logs the first one
 * of a reason at once, then at most one line in ten seconds with their number.
 */
export function reportRefusals(options: {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
}): Refused {
  const { log, metrics, clock } = options;
  const counter = metrics.counter(
    "lucky_connections_refused_total",
    "Refused connections of clients, and refused requests of clients behind trusted proxies",
    ["reason"],
  );
  /** Refused connections that are not logged yet, by reason. A reason without an entry logs at once. */
  const waiting = new Map<Refusal, { refused: number; address: string | undefined }>();

  function write(reason: Refusal, refused: number, address: string | undefined): void {
    log.warn({ event: "connections_refused", reason, refused, address });
    waiting.set(reason, { refused: 0, address: undefined });
    clock.after(LINE_INTERVAL_MS, () => {
      const entry = waiting.get(reason)!;
      waiting.delete(reason);
      if (entry.refused > 0) write(reason, entry.refused, entry.address);
    });
  }

  return (reason, address) => {
    counter.inc({ reason });
    const entry = waiting.get(reason);
    if (entry === undefined) return write(reason, 1, address);
    entry.refused += 1;
    entry.address = address;
  };
}
