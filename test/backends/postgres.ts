import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { assignBuckets } from "#platform/buckets/assign.ts";
import { createLog } from "#platform/log.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { PLANNER_SETTINGS } from "../../services/server/log/database.ts";
import { stopWithThisProcess } from "./postgres-guard.ts";
import { copyPostgresTemplate } from "./postgres-template.ts";
import type { Teardown } from "./teardown.ts";

/** A log that writes nothing. */
export const quiet = createLog({ service: "test", instanceId: "test", level: "silent" });

/** A PostgreSQL for tests. */
export interface TestPostgres {
  /** The home database. It has all buckets of conversations, unless there are several logs. */
  readonly url: string;
  readonly pool: pg.Pool;
  /** Databases of the log, each with its share of the buckets; the home database is the first. */
  readonly logUrls: readonly string[];
  readonly logs: readonly pg.Pool[];
}

/**
 * Starts a migrated PostgreSQL on a free port, in a folder of its own. Both are removed at teardown.
 * It does not sync to disk, so that tests do not wait for it; a crash of the machine loses the data. The
 * sessions of the pools have the planner settings of server. `logs` is the number of databases of the
 * log, all in the one cluster.
 */
export async function startTestPostgres(
  t: Teardown,
  options: { max?: number; logs?: number } = {},
): Promise<TestPostgres> {
  const folder = await mkdtemp(join(tmpdir(), "lucky-postgres-"));
  // PostgreSQL runs under another account when the test runs as root.
  await chmod(folder, 0o711);
  await copyPostgresTemplate(folder, quiet);
  const postgres = await startEmbedded({
    dataDir: folder,
    log: quiet,
    settings: { fsync: "off", full_page_writes: "off", io_method: "sync", shared_buffers: "32MB" },
  });
  const guard = stopWithThisProcess(join(folder, "cluster", "postmaster.pid"));
  const logs: pg.Pool[] = [];
  t.after(async () => {
    guard.kill("SIGKILL");
    await Promise.all(logs.map((pool) => pool.end()));
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  });
  // Only reads the table of migrations, unless there was no template to copy.
  await migrate({ url: postgres.url, log: quiet });
  await assignBuckets([{ url: postgres.url }]);
  const logUrls = await createLogs(postgres.url, options.logs ?? 1);
  logs.push(
    ...logUrls.map((url) =>
      createPool({
        url,
        max: options.max ?? 8,
        session: PLANNER_SETTINGS,
        log: quiet,
        name: "test",
      }),
    ),
  );
  return { url: postgres.url, pool: logs[0]!, logUrls, logs };
}

/** Creates copies of a migrated database, and assigns the buckets evenly to all of them. */
async function createLogs(url: string, count: number): Promise<string[]> {
  const home = new URL(url);
  const name = home.pathname.slice(1);
  const urls = [url];
  for (let at = 1; at < count; at++) {
    const maintenance = new URL(url);
    maintenance.pathname = "/postgres";
    await run(maintenance.href, `CREATE DATABASE log_${at} TEMPLATE ${name}`);
    const copy = new URL(url);
    copy.pathname = `/log_${at}`;
    urls.push(copy.href);
  }
  if (count === 1) return urls;
  for (const [at, copy] of urls.entries())
    await run(
      copy,
      `UPDATE im.database SET database_id = gen_random_uuid();
       UPDATE im.bucket SET state = CASE WHEN bucket % ${count} = ${at} THEN 1 ELSE 0 END`,
    );
  return urls;
}

async function run(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(text).finally(() => client.end());
}
