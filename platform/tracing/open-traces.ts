import type { Clock } from "#platform/clock.ts";
import type { PlatformConfig } from "#platform/config/settings.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { type TraceRates, Traces } from "./traces.ts";

export interface OpenTracesOptions {
  readonly platform: Pick<PlatformConfig, "otlpUrl"> & TraceRates;
  /** Name of the process in the traces: "connect" … */
  readonly service: string;
  readonly instanceId: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/**
 * Opens the traces of a process, which the caller closes. Undefined without a collector: then
 * OpenTelemetry's SDK is not even loaded.
 */
export async function openTraces(options: OpenTracesOptions): Promise<Traces | undefined> {
  const { platform, ...shared } = options;
  const { otlpUrl: url } = platform;
  if (url === "") {
    // Not an error: both rates are live, and a change of them must not break the next start.
    if (platform.traceOneIn > 0 || platform.traceClientsPerSecond > 0)
      options.log.warn({ event: "traces_without_collector", missing: "LUCKY_OTLP_URL" });
    return undefined;
  }
  const { openOtlpSpans } = await import("./otlp-spans.ts");
  return new Traces({
    spans: openOtlpSpans({ ...shared, url }),
    clock: shared.clock,
    rates: platform,
  });
}
