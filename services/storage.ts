import { join } from "node:path";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { createPool, type Pool } from "#platform/postgres/pool.ts";
import { type HeldWorker, holdWorker } from "#platform/postgres/worker.ts";
import type { Runtime } from "./runtime.ts";

/** A migrated PostgreSQL. */
export interface Database {
  /** postgresql://… over TCP, with the password: not for logs. */
  readonly url: string;
  /**
   * Address for this process: a Unix socket when PostgreSQL is embedded. Contains the password too.
   */
  readonly localUrl: string;
  /** Whether this process started PostgreSQL. */
  readonly embedded: boolean;
}

/**
 * Migrates the PostgreSQL that LUCKY_POSTGRES_URL names. If that is empty, starts an embedded
 * PostgreSQL with its data under `dataDir` and migrates it.
 */
export async function openDatabase(runtime: Runtime, dataDir: string): Promise<Database> {
  const { config, log, started } = runtime;
  const givenUrl = config.platform.postgresUrl;
  if (givenUrl !== "") {
    await migrate({ url: givenUrl, log });
    return { url: givenUrl, localUrl: givenUrl, embedded: false };
  }
  const postgres = await startEmbedded({ dataDir: join(dataDir, "postgres"), log });
  started.push(() => postgres.stop());
  await migrate({ url: postgres.url, log });
  return { url: postgres.url, localUrl: postgres.socketUrl, embedded: true };
}

/** Connection pools of the services with tables, and the worker number of this process. */
export interface Storage {
  readonly pools: { readonly auth: Pool; readonly server: Pool };
  readonly worker: HeldWorker;
}

/** Opens the pools and leases the worker number. */
export async function openStorage(runtime: Runtime, database: Database): Promise<Storage> {
  const { config, instanceId, log, clock, started } = runtime;
  const open = (name: "auth" | "server"): Pool => {
    const max = config[name].postgresConnections;
    const pool = createPool({ url: database.localUrl, max, log, name });
    started.push(() => pool.end());
    return pool;
  };
  const pools = { auth: open("auth"), server: open("server") };
  const worker = await holdWorker({ pool: pools.server, clock, holder: instanceId, log });
  started.push(() => worker.release());
  return { pools, worker };
}
