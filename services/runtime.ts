import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { type Clock, systemClock } from "#platform/clock.ts";
import { openSettings } from "#platform/config/load-config.ts";
import type { Settings } from "#platform/config/running-settings.ts";
import { limitsConfig, platformConfig } from "#platform/config/settings.ts";
import { watchSettings } from "#platform/config/watch-settings.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { createLog, type Log, levelSetter } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import type { Started } from "#platform/process/started.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { createLoadShedder, type LoadShedder } from "#platform/rpc/interceptors/load-shedder.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import { openTraces } from "#platform/tracing/open-traces.ts";
import type { Traces } from "#platform/tracing/traces.ts";
import { authConfig } from "./auth/config.ts";
import { connectConfig } from "./connect/config.ts";
import { gatewayConfig } from "./gateway/config.ts";
import { serverConfig } from "./server/config.ts";

/** LUCKY_… settings; no other environment is read. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Adapters that replace the built-in ones. They are closed together with all other parts. */
export interface Overrides {
  readonly bus?: Bus;
  readonly registry?: Registry;
  readonly clock?: Clock;
  readonly sms?: SmsSender;
}

/** The dependencies that all services in this process share. */
export interface Runtime {
  readonly config: AllConfig;
  readonly settings: Settings;
  readonly instanceId: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Sheds calls of users while this process has too much to do. */
  readonly shedder: LoadShedder;
  /** Undefined without a collector. */
  readonly traces: Traces | undefined;
  /** Stops every started part, the last one first. */
  readonly started: Started;
}

/** Settings of all services. */
export type AllConfig = ReturnType<typeof loadAllConfig>;

/** Loads the settings, and creates log, metrics, clock and traces. Rejects with a ConfigError. */
export async function createRuntime(
  env: Environment,
  overrides: Overrides,
  started: Started,
): Promise<Runtime> {
  const { config, settings } = openAllSettings(env);
  const { platform } = config;
  const instanceId = platform.instanceId || "all";
  const log = createLog({ service: "all", instanceId, level: platform.logLevel });
  const setLevel = levelSetter(log);
  settings.onChange(() => setLevel(platform.logLevel));
  const metrics = new Metrics({ exemplars: platform.otlpUrl !== "" });
  const clock = overrides.clock ?? systemClock;
  started.push(watchSettings({ settings, clock, log, metrics }));
  const shedder = createLoadShedder({ clock, log, metrics });
  started.push(() => shedder.close());
  const traces = await openTraces({ platform, service: "all", instanceId, log, metrics, clock });
  if (traces !== undefined) started.push(() => traces.close());
  return { config, settings, instanceId, log, metrics, clock, shedder, traces, started };
}

/** Loads the settings of all services. Throws a ConfigError. */
export function loadAllConfig(env: Environment) {
  return openAllSettings(env).config;
}

function openAllSettings(env: Environment) {
  return openSettings(
    {
      platform: platformConfig,
      limits: limitsConfig,
      gateway: gatewayConfig,
      auth: authConfig,
      connect: connectConfig,
      server: serverConfig,
    },
    { env, others: ["migrate"] },
  );
}

/** Ports that the settings name. This process opens some of them after its PostgreSQL. */
export function configuredPorts(config: AllConfig): number[] {
  const { gateway, auth, connect, server, platform } = config;
  return [gateway.port, auth.port, connect.port, server.port, platform.opsPort];
}

/** Adapters in the memory of this process. */
export interface Adapters {
  readonly bus: Bus;
  readonly registry: Registry;
  readonly limiter: Limiter;
}

/** Opens the adapters; an override replaces one. */
export function openAdapters({ clock, metrics, started }: Runtime, overrides: Overrides): Adapters {
  const bus = overrides.bus ?? createMemoryBus();
  started.push(() => bus.close());
  const registry = overrides.registry ?? createMemoryRegistry({ clock });
  started.push(() => registry.close());
  const limiter = createMemoryLimiter({ clock, metrics });
  started.push(() => limiter.close());
  return { bus, registry, limiter };
}
