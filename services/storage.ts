import { join } from "node:path";
import { ConfigError } from "#platform/config/config.ts";
import { type PostgresAddress, postgresAddress } from "#platform/config/settings.ts";
import { onDataFolder } from "#platform/postgres/embedded/data-folder.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { openPool, type Pool } from "#platform/postgres/pool.ts";
import type { SessionSettings } from "#platform/postgres/session.ts";
import { type HeldWorker, holdWorker } from "#platform/postgres/worker.ts";
import { configuredPorts, type Runtime } from "./runtime.ts";
import { PLANNER_SETTINGS } from "./server/log/database.ts";

/** A migrated PostgreSQL. */
export interface Database {
  /** postgresql://… over TCP, with the password: not for logs. */
  readonly url: string;
  /**
   * URLs for the services with tables: a Unix socket when PostgreSQL is embedded. They contain
   * passwords too.
   */
  readonly urls: { readonly auth: string; readonly server: string };
  /** The variables that set these URLs. */
  readonly variables: { readonly auth: string; readonly server: string };
  /** Whether this process started PostgreSQL. */
  readonly embedded: boolean;
  /** Resolves when an embedded PostgreSQL has ended and cannot be restarted. */
  readonly failed?: Promise<Error>;
}

/**
 * Migrates the PostgreSQL that the settings name. If they name none, starts an embedded PostgreSQL
 * with its data under `dataDir` and migrates it.
 */
export async function openDatabase(runtime: Runtime, dataDir: string): Promise<Database> {
  const { config, log, clock, started } = runtime;
  const addresses = [
    postgresAddress("auth", config.auth, config.platform),
    postgresAddress("server", config.server, config.platform),
  ] as const;
  if (addresses.some(({ url }) => url !== "")) {
    const [auth, server] = addresses;
    requireBoth(addresses);
    await migrate({ ...auth, log });
    if (server.url !== auth.url) await migrate({ ...server, log });
    const urls = { auth: auth.url, server: server.url };
    const variables = { auth: auth.variable, server: server.variable };
    return { url: config.platform.postgresUrl || server.url, urls, variables, embedded: false };
  }
  const postgres = await startEmbedded({
    dataDir: join(dataDir, "postgres"),
    reservedPorts: configuredPorts(config),
    log,
    clock,
  });
  started.push(() => postgres.stop());
  await onDataFolder(dataDir, () => migrate({ url: postgres.url, log }));
  const { url, socketUrl, failed } = postgres;
  const urls = { auth: socketUrl, server: socketUrl };
  const variables = { auth: "embedded", server: "embedded" };
  return { url, urls, variables, embedded: true, failed };
}

function requireBoth(addresses: readonly [auth: PostgresAddress, server: PostgresAddress]): void {
  const names = ["LUCKY_AUTH_POSTGRES_URL", "LUCKY_SERVER_POSTGRES_URL"];
  const faults = names.filter((_, at) => addresses[at]!.url === "");
  if (faults.length === 0) return;
  throw new ConfigError(faults.map((name) => `${name} or LUCKY_POSTGRES_URL is missing`));
}

/** Connection pools of the services with tables, and the worker number of this process. */
export interface Storage {
  readonly pools: { readonly auth: Pool; readonly server: Pool };
  readonly worker: HeldWorker;
}

/** Opens the pools and leases the worker number. */
export async function openStorage(runtime: Runtime, database: Database): Promise<Storage> {
  const { config, instanceId, log, clock, started } = runtime;
  const open = async (name: "auth" | "server", session: SessionSettings = {}): Promise<Pool> => {
    const pool = await openPool({
      url: database.urls[name],
      variable: database.variables[name],
      max: config[name].postgresConnections,
      session,
      pooler: database.embedded ? "none" : config.platform.postgresPooler,
      log,
      name,
    });
    started.push(() => pool.end());
    return pool;
  };
  const pools = { auth: await open("auth"), server: await open("server", PLANNER_SETTINGS) };
  const worker = await holdWorker({ pool: pools.server, clock, holder: instanceId, log });
  started.push(() => worker.release());
  return { pools, worker };
}
