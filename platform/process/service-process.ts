import type { IncomingMessage, ServerResponse } from "node:http";
import { hostname } from "node:os";
import type { Duplex } from "node:stream";
import type { ServedCertificate } from "#platform/certificates/served-certificate.ts";
import type { TrustedProxies } from "#platform/client-address.ts";
import { type Clock, systemClock } from "#platform/clock.ts";
import {
  ConfigError,
  type ConfigOf,
  type ConfigTable,
  environmentName,
} from "#platform/config/config.ts";
import { openSettings } from "#platform/config/load-config.ts";
import type { Settings } from "#platform/config/running-settings.ts";
import { acceptedSecrets, ownSecret, secretFaults, secretsOf } from "#platform/config/secrets.ts";
import {
  type LimitsConfig,
  limitsConfig,
  type PlatformConfig,
  platformConfig,
} from "#platform/config/settings.ts";
import { watchSettings } from "#platform/config/watch-settings.ts";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { type MeshCallers, meshCallers } from "#platform/identity/mesh-callers.ts";
import { createLog, type Log, levelSetter } from "#platform/log.ts";
import { loadMeshTls, type MeshTls } from "#platform/mesh-tls.ts";
import { Metrics } from "#platform/metrics.ts";
import { createRedisRegistry } from "#platform/registry/redis.ts";
import type { Registry } from "#platform/registry/registry.ts";
import {
  type RemoteOptions,
  type RemoteTransport,
  remoteTransport,
} from "#platform/rpc/calling/remote.ts";
import type { ServerInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { createLoadShedder, type LoadShedder } from "#platform/rpc/interceptors/load-shedder.ts";
import type { RunningService } from "#platform/rpc/served.ts";
import type { AnswerPage } from "#platform/rpc/serving/handler.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import { SERVICE_NAMES, type ServiceName } from "#platform/service-name.ts";
import { openTraces } from "#platform/tracing/open-traces.ts";
import type { Traces } from "#platform/tracing/traces.ts";
import { openAt } from "./listen-address.ts";
import { operatorCalls } from "./operator-calls.ts";
import { serveOps } from "./ops.ts";
import type { Stoppable } from "./process.ts";
import type { DescribeDeliveries } from "./process-service.ts";
import { type Started, startAllOrNothing } from "./started.ts";

/** Everything that the mesh provides to a process at its start. */
export interface Mesh<T extends ConfigTable> {
  readonly platform: PlatformConfig;
  readonly limits: LimitsConfig;
  readonly config: ConfigOf<T>;
  readonly settings: Settings;
  readonly instanceId: string;
  /** Address of the operator's port, for the registry. */
  readonly opsAddress: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly registry: Registry;
  /** Identifies the services that call this one. */
  readonly callers: MeshCallers;
  /** Sheds calls of users while this process has too much to do. */
  readonly shedder: LoadShedder;
  /** Undefined without a collector. */
  readonly traces: Traces | undefined;
  /** TLS between services; undefined when it is not configured. */
  readonly tls: MeshTls | undefined;
  /** The caller adds the stop functions of the parts that it starts. */
  readonly started: Started;
  /** Aborts when the process shall stop, also during its start. */
  readonly stopping: AbortSignal;
  /** Creates a transport to another service: gRPC, or lean links if that service serves them. */
  remote(service: string, options?: Pick<RemoteOptions, "lean">): RemoteTransport;
}

/** A service that its `main.ts` composed. */
export interface ServiceProcess {
  readonly running: RunningService;
  /** Whether the service can handle calls now. */
  readonly ready: () => boolean;
  /**
   * Listener for RPC, announced in the registry; absent for a service that listens and announces
   * itself.
   */
  readonly listener?: Listener;
  /** Describes deliveries to its sessions, for operators; absent for a service without sessions. */
  readonly deliveries?: DescribeDeliveries;
}

export interface Listener extends ServerInterceptors {
  readonly port: number;
  /** The port is for our own services, which this identifies. With it, mesh TLS applies. */
  readonly mesh?: MeshCallers;
  /** Whether the instance cannot serve at the moment, as without its database. */
  readonly impaired?: () => boolean;
  readonly cors?: readonly string[];
  /** The certificate of a public port; plain text when absent. */
  readonly certificate?: ServedCertificate | undefined;
  readonly trustedProxies?: TrustedProxies;
  /** Bounds of the clients' connections, for a public port. */
  readonly bounds?: ConnectionBounds;
  /** Handles WebSocket upgrades; with it, the service stops before its connections are closed. */
  readonly upgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** Handles requests for pages, over HTTP/1.1 and HTTP/2. */
  readonly pages?: AnswerPage | undefined;
  /** Handles other HTTP/1.1 requests that are not calls. */
  readonly fallback?: (request: IncomingMessage, response: ServerResponse) => void;
}

export interface ServiceProcessOptions<T extends ConfigTable> {
  readonly service: ServiceName;
  readonly table: T;
  /** Shared settings that are required in addition to redisUrl and the secrets. */
  readonly needs: readonly "rabbitmqUrl"[];
  /** Whether it has tables: then its own `postgresUrl` or the shared one is required. */
  readonly hasTables?: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the process shall stop, also during its start. */
  readonly stopping: AbortSignal;
}

/** Tables of settings that processes may find in their environment. */
const TABLES = [...SERVICE_NAMES, "migrate"];

/**
 * Starts one process of the mesh: loads its configuration, serves operators, connects to the registry,
 * calls `compose` to start the service, serves RPC, and announces the instance. It waits for backends
 * that are away and is not ready meanwhile. When a step fails, it stops the started parts and rejects.
 */
export function startServiceProcess<T extends ConfigTable>(
  options: ServiceProcessOptions<T>,
  compose: (mesh: Mesh<T>) => Promise<ServiceProcess>,
): Promise<Stoppable> {
  return startAllOrNothing(async (started) => {
    const joined = await joinMesh(options, started);
    const { platform, log, metrics, registry, instanceId } = joined;
    let isStarted = false;
    let serves = () => false;
    let composed: ServiceProcess | undefined;
    const opsAddress = {
      host: platform.opsHost,
      port: platform.opsPort,
      variable: "LUCKY_OPS_PORT",
    };
    // Open before the start waits for backends: a process that waits is healthy.
    const ops = await openAt(opsAddress, () =>
      serveOps({
        ...opsAddress,
        metrics,
        started: () => isStarted,
        ready: () => serves(),
        log,
        calls: operatorCalls({
          ...joined,
          service: options.service,
          deliveries: () => composed?.deliveries,
        }),
      }),
    );
    started.push(() => ops.close());
    const mesh = {
      ...joined,
      opsAddress: addressOf({ ...platform, host: platform.opsHost }, ops.port),
    };
    composed = await compose(mesh);
    const { running, ready, listener } = composed;
    started.push(() => running.stop());
    let open = false;
    serves = () => open && running.ready() && ready();

    let port: number | undefined;
    if (listener) {
      const address = {
        host: platform.host,
        port: listener.port,
        variable: environmentName(options.table.name, "port"),
      };
      const server = await openAt(address, () =>
        listen({
          ...listener,
          tls: listener.mesh && mesh.tls,
          host: platform.host,
          served: running.served,
          log,
          metrics,
          health: () => serves(),
          onUpgrade: listener.upgrade,
        }),
      );
      started.push(() => server.close());
      if (listener.upgrade) started.push(() => running.stop());
      port = server.port;
      const lease = await registry.announce(
        {
          instanceId,
          service: options.service,
          address: addressOf(platform, port),
          publicAddress: "",
          opsAddress: mesh.opsAddress,
          load: 0,
        },
        () => log.info({ event: "registry_reannounced" }),
      );
      started.push(() => lease.release());
    }
    isStarted = true;
    open = true;
    log.info({ event: "ready", host: platform.host, port, opsPort: ops.port });
    return {
      async stop() {
        open = false;
        log.info({ event: "stopping" });
        await started.stop();
        log.info({ event: "stopped", unfinished: started.unfinished || undefined });
      },
    };
  });
}

async function joinMesh<T extends ConfigTable>(
  { service, table, needs, hasTables, env, stopping }: ServiceProcessOptions<T>,
  started: Started,
): Promise<Omit<Mesh<T>, "opsAddress">> {
  const { config: values, settings } = openSettings(
    { platform: platformConfig, limits: limitsConfig, config: table as ConfigTable },
    {
      env,
      required: { platform: ["redisUrl", ...secretsOf(service), ...needs] },
      oneOf: hasTables ? { key: "postgresUrl", tables: ["config", "platform"] } : undefined,
      others: TABLES.filter((name) => name !== table.name),
    },
  );
  const { platform, limits, config } = values;
  const faults = secretFaults(service, platform);
  if (faults.length > 0) throw new ConfigError(faults);
  const tls = meshTlsOf(platform);
  const instanceId = platform.instanceId || `${service}-${hostname()}`;
  const log = createLog({ service, instanceId, level: platform.logLevel });
  const clock = systemClock;
  const metrics = new Metrics({ exemplars: platform.otlpUrl !== "" });
  const setLevel = levelSetter(log);
  settings.onChange(() => setLevel(platform.logLevel));
  started.push(watchSettings({ settings, clock, log, metrics }));
  const shedder = createLoadShedder({ clock, log, metrics });
  started.push(() => shedder.close());
  const traces = await openTraces({ platform, service, instanceId, log, metrics, clock });
  if (traces !== undefined) started.push(() => traces.close());
  const registry = createRedisRegistry({ url: platform.redisUrl, clock, log, metrics, stopping });
  started.push(() => registry.close());
  return {
    platform,
    limits,
    config: config as ConfigOf<T>,
    settings,
    instanceId,
    log,
    metrics,
    clock,
    registry,
    shedder,
    callers: meshCallers(acceptedSecrets(service, platform)),
    traces,
    tls,
    started,
    stopping,
    remote(name, remoteOptions = {}) {
      const common = {
        registry,
        service: name,
        secret: ownSecret(service, platform),
        tls,
        log,
        metrics,
        clock,
      };
      const transport = remoteTransport({ ...common, ...remoteOptions });
      started.push(() => transport.close());
      return transport;
    },
  };
}

/** TLS of the mesh; undefined when none of its files is set. */
function meshTlsOf(platform: PlatformConfig): MeshTls | undefined {
  const keys = ["meshTlsCertFile", "meshTlsKeyFile", "meshTlsCaFile"] as const;
  const missing = keys.filter((key) => platform[key] === "");
  if (missing.length === keys.length) return undefined;
  const faults = missing.map((key) => `${environmentName("", key)} is missing`);
  if (faults.length > 0) throw new ConfigError(faults);
  return loadMeshTls({
    certFile: platform.meshTlsCertFile,
    keyFile: platform.meshTlsKeyFile,
    caFile: platform.meshTlsCaFile,
  });
}

/** The address under which other services reach a port of this process. */
export function addressOf({ host, advertiseHost }: PlatformConfig, port: number): string {
  const allAddresses = host === "0.0.0.0" || host === "::" || host === "";
  const name = advertiseHost || (allAddresses ? "127.0.0.1" : host);
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}
