import type { Bus, Consumer } from "#platform/bus/bus.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";

/**
 * Takes dead letters from the bus and records why they died. What was in them is not lost: it is in
 * the log, and the sweep tells whom it concerns.
 */
export function countDeadLetters(options: {
  bus: Bus;
  log: Log;
  metrics: Metrics;
}): Promise<Consumer> {
  const { bus, log, metrics } = options;
  const buried = metrics.counter("lucky_dead_letters_total", "Dead letters, by queue and reason.", [
    "queue",
    "reason",
  ]);
  return bus.consumeDeadLetters(async ({ queue, reason, body }) => {
    buried.inc({ queue, reason });
    log.error({ event: "dead_letter", queue, reason, bytes: body.length });
  });
}
