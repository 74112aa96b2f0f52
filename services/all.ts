import { randomBytes } from "node:crypto";
import { realpathSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createClient } from "@connectrpc/connect";
import { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { PresenceService } from "#gen/lucky/presence/v1/presence_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { type Clock, systemClock } from "#platform/clock.ts";
import { loadConfig } from "#platform/config/config.ts";
import { limitsConfig, platformConfig } from "#platform/config/settings.ts";
import { createIdentity } from "#platform/identity/identity.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import { createIds } from "#platform/ids.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { openAt } from "#platform/process/listen-address.ts";
import { serveOps } from "#platform/process/ops.ts";
import { runProcess } from "#platform/process/process.ts";
import { startAllOrNothing } from "#platform/process/started.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { methodTable } from "#platform/rpc/calling/methods.ts";
import { budgetsOf } from "#platform/rpc/interceptors/budgets.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import { authConfig } from "./auth/config.ts";
import { loadOrCreateKey } from "./auth/keys/key-file.ts";
import { startAuth } from "./auth/service.ts";
import { banner } from "./banner.ts";
import { connectConfig } from "./connect/config.ts";
import { startConnect } from "./connect/service.ts";
import { gatewayConfig } from "./gateway/config.ts";
import { startGateway } from "./gateway/service.ts";
import { serverConfig } from "./server/config.ts";
import { startServer } from "./server/service.ts";

export interface AllOptions {
  /** LUCKY_… settings; nothing else is read. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Parts to use instead of those that it would make. Closed with the rest. */
  readonly overrides?: {
    readonly bus?: Bus;
    readonly registry?: Registry;
    readonly clock?: Clock;
    readonly sms?: SmsSender;
  };
}

/** Everything, running in this process. */
export interface All {
  /** Where devices reach it: "http://host:port". */
  readonly url: string;
  /** Where connect itself listens for WebSockets: "http://host:port". */
  readonly connectUrl: string;
  /** Where the operator reaches it: "http://host:port". */
  readonly opsUrl: string;
  /** With the password: not for logs. */
  readonly postgresUrl: string;
  /** Whether that PostgreSQL was brought along. */
  readonly embedded: boolean;
  /** Absolute. */
  readonly dataDir: string;
  /** Ends everything, bounded. Idempotent. */
  stop(): Promise<void>;
}

const CONNECT_ID = "connect-0";
const LISTEN_GRACE_MS = 2_000;

/**
 * Starts all services in this process, on a PostgreSQL of their own unless LUCKY_POSTGRES_URL names
 * one. Rejects, with nothing left running, when a step fails.
 */
export function startAll({ env, overrides = {} }: AllOptions): Promise<All> {
  return startAllOrNothing(async (started) => {
    const config = loadConfig(
      {
        platform: platformConfig,
        limits: limitsConfig,
        gateway: gatewayConfig,
        auth: authConfig,
        connect: connectConfig,
        server: serverConfig,
      },
      { env },
    );
    const { platform } = config;
    const instanceId = platform.instanceId || "all";
    const log = createLog({ service: "all", instanceId, level: platform.logLevel });
    const metrics = new Metrics();
    const clock = overrides.clock ?? systemClock;
    const dataDir = resolve(platform.dataDir);
    // PostgreSQL may run under another account, which has to reach its folder in there.
    await mkdir(dataDir, { recursive: true, mode: 0o711 });

    const embedded = platform.postgresUrl === "";
    let url = platform.postgresUrl;
    let near = url;
    if (embedded) {
      const postgres = await startEmbedded({ dataDir: join(dataDir, "postgres"), log });
      started.push(() => postgres.stop());
      url = postgres.url;
      near = postgres.socketUrl;
    }
    await migrate({ url, log });

    const bus = overrides.bus ?? createMemoryBus();
    started.push(() => bus.close());
    const registry = overrides.registry ?? createMemoryRegistry({ clock });
    started.push(() => registry.close());
    const limiter = createMemoryLimiter({ clock });
    started.push(() => limiter.close());

    const poolOf = (name: "auth" | "server") => {
      const pool = createPool({ url: near, max: config[name].postgresConnections, log, name });
      started.push(() => pool.end());
      return pool;
    };
    const pools = { auth: poolOf("auth"), server: poolOf("server") };
    const worker = await holdWorker({ pool: pools.server, clock, holder: instanceId, log });
    started.push(() => worker.release());
    const ids = createIds({ worker: worker.number, clock });

    // Nobody outside this process can know it, so none has to be configured.
    const meshSecret = platform.meshSecret || randomBytes(32).toString("base64url");
    const keyEncryptionKey =
      config.auth.keyEncryptionKey || (await loadOrCreateKey(join(dataDir, "auth.key")));
    const interceptorsWith = (verifier: TokenVerifier) =>
      serverInterceptors({ log, metrics, clock, verifier, meshSecret, trustMesh: true });

    const auth = await startAuth({
      config: { ...config.auth, keyEncryptionKey },
      log,
      metrics,
      pool: pools.auth,
      bus,
      registry,
      limiter,
      sms: overrides.sms,
      ids,
      clock,
    });
    started.push(() => auth.stop());
    const identity = createIdentity({
      transport: (verifier) =>
        localTransport(auth.served, interceptorsWith(verifier), { meshSecret }),
      clock,
      log,
    });
    started.push(() => identity.close());
    const { verifier } = identity;
    const toAuth = identity.transport;

    const server = await startServer({
      config: config.server,
      log,
      metrics,
      pool: pools.server,
      bus,
      registry,
      sessions: createClient(SessionService, toAuth),
      ids,
      clock,
    });
    started.push(() => server.stop());
    const toServer = localTransport(server.served, interceptorsWith(verifier), { meshSecret });

    const connectAddress = {
      host: config.connect.host || platform.host,
      port: config.connect.port,
      variable: "LUCKY_CONNECT_PORT",
    };
    const connect = await openAt(connectAddress, () =>
      startConnect({
        config: { ...config.connect, host: connectAddress.host },
        log,
        metrics,
        bus,
        registry,
        verifier,
        revocations: identity.revocations,
        ingress: createClient(IngressService, toServer),
        methods: methodTable(
          [
            { service: AuthService, transport: toAuth },
            { service: DeviceService, transport: toAuth },
            { service: UserService, transport: toAuth },
            { service: AdminService, transport: toAuth },
            { service: MessageService, transport: toServer },
            { service: GroupService, transport: toServer },
            { service: PresenceService, transport: toServer },
          ],
          { limiter, budgets: budgetsOf(config.limits) },
        ),
        sessions: createClient(SessionService, toAuth),
        clock,
        meshSecret,
        instance: {
          instanceId: CONNECT_ID,
          address: urlOf(connectAddress.host, connectAddress.port),
          publicAddress: config.connect.publicAddress,
        },
      }),
    );
    started.push(() => connect.stop());

    const gateway = await startGateway({
      config: config.gateway,
      log,
      metrics,
      registry,
      verifier,
      transports: { auth: toAuth, server: toServer },
      secret: meshSecret,
      clock,
    });
    const services = [auth, server, connect, gateway];
    const ready = () => identity.ready() && services.every((service) => service.ready());
    const gatewayAddress = {
      host: platform.host,
      port: config.gateway.port,
      variable: "LUCKY_GATEWAY_PORT",
    };
    const listening = await openAt(gatewayAddress, () =>
      listen({
        ...gatewayAddress,
        served: gateway.served,
        interceptors: serverInterceptors({
          log,
          metrics,
          clock,
          verifier,
          meshSecret: "",
          trustMesh: false,
          limiter,
          budgets: budgetsOf(config.limits),
        }),
        log,
        health: ready,
        onUpgrade: gateway.upgrade,
        fallback: gateway.fallback,
        cors: config.gateway.corsOrigins,
        trustForwardedFor: config.gateway.trustForwardedFor,
        graceMs: LISTEN_GRACE_MS,
      }),
    );
    started.push(() => listening.close());
    // Sessions are told to move while their tunnels still stand.
    started.push(async () => {
      await Promise.all([connect.stop(), gateway.stop()]);
    });
    const opsAddress = {
      host: platform.opsHost,
      port: platform.opsPort,
      variable: "LUCKY_OPS_PORT",
    };
    const ops = await openAt(opsAddress, () => serveOps({ ...opsAddress, metrics, ready }));
    started.push(() => ops.close());

    return {
      url: urlOf(platform.host, listening.port),
      connectUrl: urlOf(connectAddress.host, connect.port),
      opsUrl: urlOf(platform.opsHost, ops.port),
      postgresUrl: url,
      embedded,
      dataDir,
      stop: () => started.stop(),
    };
  });
}

/** The address under which this machine reaches what listens on the host. */
function urlOf(host: string, port: number): string {
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  runProcess(async () => {
    const begunAt = performance.now();
    const all = await startAll({ env: { LUCKY_LOG_LEVEL: "warn", ...process.env } });
    console.log(banner({ ...all, startedInMs: performance.now() - begunAt }));
    return all;
  });
}
