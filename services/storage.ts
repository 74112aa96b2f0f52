import { statfsSync } from "node:fs";
import { join } from "node:path";
import { openLogs } from "#platform/buckets/open-logs.ts";
import { ConfigError } from "#platform/config/config.ts";
import { logAddresses, type PostgresAddress, postgresAddress } from "#platform/config/settings.ts";
import { onDataFolder } from "#platform/postgres/embedded/data-folder.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { openPool, type Pool } from "#platform/postgres/pool.ts";
import { isAwayAtStart } from "#platform/postgres/unavailable.ts";
import { type HeldWorker, holdWorker } from "#platform/postgres/worker.ts";
import { whenReachable } from "#platform/waiting.ts";
import { configuredPorts, type Runtime } from "./runtime.ts";
import { PLANNER_SETTINGS } from "./server/log/database.ts";

/** A migrated PostgreSQL. */
export interface Database {
  /** postgresql://… over TCP, with the password: not for logs. */
  readonly url: string;
  /**
   * The home database, for auth and the worker number. These URLs contain passwords too; an embedded
   * PostgreSQL has a Unix socket.
   */
  readonly auth: PostgresAddress;
  /** The databases of the log, at least one. */
  readonly logs: readonly PostgresAddress[];
  /** Whether this process started PostgreSQL. */
  readonly embedded: boolean;
  /** Resolves when an embedded PostgreSQL has ended and cannot be restarted. */
  readonly failed?: Promise<Error>;
}

/**
 * Migrates the PostgreSQL that the settings name. If they name none, starts an embedded PostgreSQL
 * with its data under `dataDir` and migrates it.
 */
export async function openDatabase(
  runtime: Runtime,
  dataDir: string,
  stopping?: AbortSignal,
): Promise<Database> {
  const { config, log, metrics, clock, started } = runtime;
  const addresses = [
    postgresAddress("auth", config.auth, config.platform),
    postgresAddress("server", config.server, config.platform),
  ] as const;
  if (addresses.some(({ url }) => url !== "")) {
    const [auth, server] = addresses;
    requireBoth(addresses);
    const migrated = () => migrate({ ...auth, log });
    await whenReachable("PostgreSQL", migrated, { clock, log, stopping, isAway: isAwayAtStart });
    const logs = logAddresses(config.platform, server);
    return { url: config.platform.postgresUrl || server.url, auth, logs, embedded: false };
  }
  if (config.platform.postgresLogUrls.length > 0)
    throw new ConfigError([
      "LUCKY_POSTGRES_URL is missing: LUCKY_POSTGRES_LOG_URLS needs it, for the accounts",
    ]);
  const postgres = await startEmbedded({
    dataDir: join(dataDir, "postgres"),
    reservedPorts: configuredPorts(config),
    log,
    clock,
  });
  started.push(() => postgres.stop());
  await onDataFolder(dataDir, () => migrate({ url: postgres.url, log }));
  metrics.sampled(
    "lucky_disk_free_bytes",
    "Bytes that this process may still write to the disk with its data folder.",
    [],
    () => [[{}, freeBytes(dataDir)]],
  );
  const { url, socketUrl, failed } = postgres;
  const embedded = { url: socketUrl, variable: "embedded" };
  return { url, auth: embedded, logs: [embedded], embedded: true, failed };
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

function requireBoth(addresses: readonly [auth: PostgresAddress, server: PostgresAddress]): void {
  const names = ["LUCKY_AUTH_POSTGRES_URL", "LUCKY_SERVER_POSTGRES_URL"];
  const faults = names.filter((_, at) => addresses[at]!.url === "");
  if (faults.length === 0) return;
  throw new ConfigError(faults.map((name) => `${name} or LUCKY_POSTGRES_URL is missing`));
}

/** Connection pools of the services with tables, and the worker number of this process. */
export interface Storage {
  readonly pools: { readonly auth: Pool; readonly logs: readonly Pool[] };
  readonly worker: HeldWorker;
}

/** Opens the pools and leases the worker number. */
export async function openStorage(
  runtime: Runtime,
  database: Database,
  stopping?: AbortSignal,
): Promise<Storage> {
  const { config, instanceId, log, metrics, clock, started } = runtime;
  const pooler = database.embedded ? "none" : config.platform.postgresPooler;
  const auth = await openPool({
    ...database.auth,
    max: config.auth.postgresConnections,
    pooler,
    log,
    metrics,
    name: "auth",
  });
  started.push(() => auth.end());
  const options = {
    home: database.auth,
    max: config.server.postgresConnections,
    session: PLANNER_SETTINGS,
    pooler,
    log,
    metrics,
    name: "server",
  };
  const logs = await whenReachable("databases of the log", () => openLogs(database.logs, options), {
    clock,
    log,
    stopping,
    isAway: isAwayAtStart,
  });
  for (const pool of logs) started.push(() => pool.end());
  const worker = await holdWorker({ pool: auth, clock, holder: instanceId, log });
  started.push(() => worker.release());
  return { pools: { auth, logs }, worker };
}
