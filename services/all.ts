import { realpathSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { ProcessService } from "#gen/lucky/internal/operations/v1/process_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { createIdentity, type Identity } from "#platform/identity/identity.ts";
import { meshCallers } from "#platform/identity/mesh-callers.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import { createIds, type Ids } from "#platform/ids.ts";
import { onDataFolder } from "#platform/postgres/embedded/data-folder.ts";
import { runProcess } from "#platform/process/process.ts";
import { type DescribeDeliveries, processService } from "#platform/process/process-service.ts";
import type { Processes } from "#platform/process/processes.ts";
import { startAllOrNothing } from "#platform/process/started.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import type { RunningService } from "#platform/rpc/served.ts";
import type { ServiceName } from "#platform/service-name.ts";
import { loadOrCreateKey } from "./auth/keys/key-file.ts";
import { startAuth } from "./auth/service.ts";
import { banner } from "./banner.ts";
import { runArguments } from "./commands.ts";
import { type FrontDoor, openFrontDoor } from "./front-door.ts";
import {
  type Adapters,
  createRuntime,
  type Environment,
  type Overrides,
  openAdapters,
  type Runtime,
} from "./runtime.ts";
import { startServer } from "./server/service.ts";
import { openDatabase, openStorage, type Storage } from "./storage.ts";

export interface AllOptions {
  readonly env: Environment;
  readonly overrides?: Overrides;
  /** Ends waits of the start for a database that is away; there is no wait when absent. */
  readonly stopping?: AbortSignal;
}

/** All services, running in this process. */
export interface All {
  /** Address for devices: "http://host:port", or "https://host:port" with a certificate. */
  readonly url: string;
  /** Address of connect's own WebSockets: "http://host:port". */
  readonly connectUrl: string;
  /** Address for the operator: "http://host:port". */
  readonly opsUrl: string;
  /** Whether the gateway serves the pages for client authors. */
  readonly docs: boolean;
  /** Whether tools can read the contract from the gateway. */
  readonly reflection: boolean;
  /** URL of PostgreSQL. Contains the password: not for logs. */
  readonly postgresUrl: string;
  /** Whether this process started that PostgreSQL. */
  readonly embedded: boolean;
  /** Resolves with an error for operators when the embedded PostgreSQL cannot be restarted. */
  readonly failed?: Promise<Error>;
  /** Absolute path of the data folder. */
  readonly dataDir: string;
  /** Stops all parts, the last started first; bounded in time. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts all services in this process, with an embedded PostgreSQL unless LUCKY_POSTGRES_URL names
 * one. Rejects, with nothing left running, when a step fails.
 */
export function startAll({ env, overrides = {}, stopping }: AllOptions): Promise<All> {
  return startAllOrNothing(async (started) => {
    const runtime = await createRuntime(env, overrides, started);
    const { platform, gateway } = runtime.config;
    const dataDir = resolve(platform.dataDir);
    // Mode 711: PostgreSQL may run under another account, which must reach its own folder inside.
    await onDataFolder(dataDir, () => mkdir(dataDir, { recursive: true, mode: 0o711 }));

    const database = await openDatabase(runtime, dataDir, stopping);
    const adapters = openAdapters(runtime, overrides);
    const storage = await openStorage(runtime, database, stopping);
    const parts: Parts = {
      runtime,
      adapters,
      storage,
      ids: createIds({ window: storage.worker.window, clock: runtime.clock }),
    };
    const { auth, identity } = await openAuth(parts, dataDir, overrides);
    const toAuth = transportTo(auth, localInterceptors(parts, identity.verifier));
    let frontDoor: FrontDoor | undefined;
    const server = await openServer(parts, {
      auth: toAuth("server"),
      processes: thisProcess(parts, identity, () => frontDoor?.deliveries),
    });
    const toServer = transportTo(server, localInterceptors(parts, identity.verifier));
    frontDoor = await openFrontDoor({
      runtime,
      adapters,
      identity,
      transportsOf: (caller) => ({ auth: toAuth(caller), server: toServer(caller) }),
      ready: () => auth.ready() && server.ready(),
    });

    const { deliveries: _, ...addresses } = frontDoor;
    return {
      ...addresses,
      docs: gateway.docs,
      reflection: gateway.reflection,
      postgresUrl: database.url,
      embedded: database.embedded,
      failed: database.failed,
      dataDir,
      stop: () => started.stop(),
    };
  });
}

/** Parts that auth and server share. */
interface Parts {
  readonly runtime: Runtime;
  readonly adapters: Adapters;
  readonly storage: Storage;
  readonly ids: Ids;
}

/** Starts auth, and the verification of tokens with its keys. */
async function openAuth(
  parts: Parts,
  dataDir: string,
  { sms }: Overrides,
): Promise<{ readonly auth: RunningService; readonly identity: Identity }> {
  const { runtime, adapters, storage, ids } = parts;
  const { config, log, metrics, clock, started } = runtime;
  const keyEncryptionKey =
    config.auth.keyEncryptionKey ||
    (await onDataFolder(dataDir, () => loadOrCreateKey(join(dataDir, "auth.key"))));
  const auth = await startAuth({
    // Inherits the settings, so that live ones stay live.
    config: Object.create(config.auth, { keyEncryptionKey: { value: keyEncryptionKey } }),
    log,
    metrics,
    pool: storage.pools.auth,
    ...adapters,
    sms,
    ids,
    clock,
  });
  started.push(() => auth.stop());
  runtime.shedder.watch("auth-database", auth.databaseWaitMs);
  const identity = createIdentity({
    transport: (verifier) => transportTo(auth, localInterceptors(parts, verifier))("auth"),
    clock,
    log,
  });
  started.push(() => identity.close());
  return { auth, identity };
}

/** Starts server, which reads users from auth. */
async function openServer(
  parts: Parts,
  { auth, processes }: { readonly auth: Transport; readonly processes: Processes },
): Promise<RunningService> {
  const { runtime, adapters, storage, ids } = parts;
  const { config, log, metrics, clock, started } = runtime;
  const server = await startServer({
    config: config.server,
    log,
    metrics,
    pools: storage.pools.logs,
    bus: adapters.bus,
    registry: adapters.registry,
    sessions: createClient(SessionService, auth),
    ids,
    clock,
    processes,
  });
  started.push(() => server.stop());
  runtime.shedder.watch("database", server.databaseWaitMs);
  return server;
}

/** The only process of this installation. */
function thisProcess(
  parts: Parts,
  { verifier }: Identity,
  deliveries: () => DescribeDeliveries | undefined,
): Processes {
  const service = "all";
  const { instanceId } = parts.runtime;
  const served = [processService({ ...parts.runtime, service, deliveries })];
  const transport = localTransport(served, localInterceptors(parts, verifier), {
    caller: "server",
  });
  const client = createClient(ProcessService, transport);
  return { of: async () => [{ service, instanceId, client }] };
}

/** Makes transports to a service in this process, each for the calls of one service. */
function transportTo(
  { served }: RunningService,
  interceptors: readonly Interceptor[],
): (caller: ServiceName) => Transport {
  return (caller) => localTransport(served, interceptors, { caller });
}

/** Interceptors of calls between services in this process. */
function localInterceptors({ runtime }: Parts, verifier: TokenVerifier): Interceptor[] {
  const { log, metrics, clock, traces } = runtime;
  // The transports tell the calling service, so no secret is accepted.
  const mesh = meshCallers({});
  return serverInterceptors({ log, metrics, clock, verifier, mesh, traces }).interceptors;
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  const start = () =>
    runProcess(async (stopping) => {
      const begunAt = performance.now();
      // The environment overrides the file of settings, which may have a level.
      const level = process.env.LUCKY_SETTINGS_FILE ? {} : { LUCKY_LOG_LEVEL: "warn" };
      const all = await startAll({ env: { ...level, ...process.env }, stopping });
      console.log(banner({ ...all, startedInMs: performance.now() - begunAt }));
      return all;
    });
  await runArguments(process.argv.slice(2), { env: process.env, start });
}
