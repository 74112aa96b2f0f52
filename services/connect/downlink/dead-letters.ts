import type { Bus, Consumer } from "#platform/bus/bus.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";

/**
 * Consumes dead letters from the bus, counts and logs them by reason. Their entries are not lost:
 * the log has them, and the sweep notifies the sessions concerned.
 */
export function countDeadLetters(options: {
  bus: Bus;
  log: Log;
  metrics: Metrics;
}): Promise<Consumer> {
  const { bus, log, metrics } = options;
  const deadLetters = metrics.counter(
    "lucky_dead_letters_total",
    "Dead letters, by queue and reason.",
    ["queue", "reason"],
  );
  return bus.consumeDeadLetters(async ({ queue, reason, body }) => {
    deadLetters.inc({ queue, reason });
    log.error({ event: "dead_letter", queue, reason, bytes: body.length });
  });
}
