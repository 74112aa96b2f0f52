import type { IncomingMessage, ServerResponse } from "node:http";
import { hostname } from "node:os";
import type { Duplex } from "node:stream";
import type { Interceptor } from "@connectrpc/connect";
import { type Clock, systemClock } from "#platform/clock.ts";
import {
  type ConfigOf,
  type ConfigTable,
  environmentName,
  loadConfig,
} from "#platform/config/config.ts";
import {
  type LimitsConfig,
  limitsConfig,
  type PlatformConfig,
  platformConfig,
} from "#platform/config/settings.ts";
import { createLog, type Log } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { createRedisRegistry } from "#platform/registry/redis.ts";
import type { Registry } from "#platform/registry/registry.ts";
import {
  type RemoteOptions,
  type RemoteTransport,
  remoteTransport,
} from "#platform/rpc/calling/remote.ts";
import type { RunningService } from "#platform/rpc/served.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import { openAt } from "./listen-address.ts";
import { serveOps } from "./ops.ts";
import type { Stoppable } from "./process.ts";
import { type Started, startAllOrNothing } from "./started.ts";

/** What a process of the mesh finds when it starts. */
export interface Mesh<T extends ConfigTable> {
  readonly platform: PlatformConfig;
  readonly limits: LimitsConfig;
  readonly config: ConfigOf<T>;
  readonly instanceId: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly registry: Registry;
  /** To be told of everything that is started on top. */
  readonly started: Started;
  /** The way to another service: by gRPC, or by lean links if it serves them. */
  remote(service: string, options?: Pick<RemoteOptions, "lean">): RemoteTransport;
}

/** A service as its `main.ts` composed it. */
export interface ServiceProcess {
  readonly running: RunningService;
  /** Whether it can do its work right now. */
  readonly ready: () => boolean;
  /** Where it listens for RPC and enters the registry; absent for a service that does so itself. */
  readonly door?: Door;
}

export interface Door {
  readonly port: number;
  readonly interceptors: readonly Interceptor[];
  /** Serves lean links to whoever knows it. */
  readonly meshSecret?: string;
  readonly cors?: readonly string[];
  readonly trustForwardedFor?: boolean;
  /** Takes WebSockets; then the service is stopped before the connections are closed. */
  readonly upgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** Answers HTTP/1.1 requests that are no calls. */
  readonly fallback?: (request: IncomingMessage, response: ServerResponse) => void;
}

export interface ServiceProcessOptions<T extends ConfigTable> {
  /** "gateway", "auth", "connect" or "server". */
  readonly service: string;
  readonly table: T;
  /** What of the shared settings must be given, besides Redis and the mesh secret. */
  readonly needs: readonly ("postgresUrl" | "rabbitmqUrl")[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

const SERVICES = ["gateway", "auth", "connect", "server"];

/**
 * Starts one process of the mesh: reads its configuration, joins the registry, lets `compose` start
 * the service, opens its doors. Rejects, with nothing left running, when a step fails.
 */
export function startServiceProcess<T extends ConfigTable>(
  options: ServiceProcessOptions<T>,
  compose: (mesh: Mesh<T>) => Promise<ServiceProcess>,
): Promise<Stoppable> {
  return startAllOrNothing(async (started) => {
    const mesh = joinMesh(options, started);
    const { platform, log, metrics, registry, instanceId } = mesh;
    const { running, ready, door } = await compose(mesh);
    started.push(() => running.stop());
    let open = false;
    const opsAddress = {
      host: platform.opsHost,
      port: platform.opsPort,
      variable: "LUCKY_OPS_PORT",
    };
    const ops = await openAt(opsAddress, () =>
      serveOps({ ...opsAddress, metrics, ready: () => open && running.ready() && ready() }),
    );
    started.push(() => ops.close());

    let port: number | undefined;
    if (door) {
      const address = {
        host: platform.host,
        port: door.port,
        variable: environmentName(options.table.name, "port"),
      };
      const listening = await openAt(address, () =>
        listen({
          ...door,
          host: platform.host,
          served: running.served,
          log,
          health: () => open && running.ready() && ready(),
          onUpgrade: door.upgrade,
        }),
      );
      started.push(() => listening.close());
      if (door.upgrade) started.push(() => running.stop());
      port = listening.port;
      const lease = await registry.announce(
        {
          instanceId,
          service: options.service,
          address: addressOf(platform, port),
          publicAddress: "",
          load: 0,
        },
        () => log.info({ event: "registry_entered_again" }),
      );
      started.push(() => lease.release());
    }
    open = true;
    log.info({ event: "ready", host: platform.host, port, opsPort: ops.port });
    return {
      async stop() {
        open = false;
        log.info({ event: "stopping" });
        await started.stop();
        log.info({ event: "stopped" });
      },
    };
  });
}

function joinMesh<T extends ConfigTable>(
  { service, table, needs, env }: ServiceProcessOptions<T>,
  started: Started,
): Mesh<T> {
  const { platform, limits, config } = loadConfig(
    { platform: platformConfig, limits: limitsConfig, config: table as ConfigTable },
    {
      env,
      required: { platform: ["redisUrl", "meshSecret", ...needs] },
      others: SERVICES.filter((name) => name !== table.name),
    },
  );
  const instanceId = platform.instanceId || `${service}-${hostname()}`;
  const log = createLog({ service, instanceId, level: platform.logLevel });
  const clock = systemClock;
  const registry = createRedisRegistry({ url: platform.redisUrl, clock, log });
  started.push(() => registry.close());
  return {
    platform,
    limits,
    config: config as ConfigOf<T>,
    instanceId,
    log,
    metrics: new Metrics(),
    clock,
    registry,
    started,
    remote(name, remoteOptions = {}) {
      const { meshSecret } = platform;
      const common = { registry, service: name, meshSecret, log, clock };
      const transport = remoteTransport({ ...common, ...remoteOptions });
      started.push(() => transport.close());
      return transport;
    },
  };
}

/** The address under which other services reach a port of this process. */
export function addressOf({ host, advertiseHost }: PlatformConfig, port: number): string {
  const everywhere = host === "0.0.0.0" || host === "::" || host === "";
  const name = advertiseHost || (everywhere ? "127.0.0.1" : host);
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}
