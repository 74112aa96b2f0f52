import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
import { assignBuckets } from "#platform/buckets/assign.ts";
import { systemClock } from "#platform/clock.ts";
import { createIds, type Ids } from "#platform/ids.ts";
import { createLog } from "#platform/log.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { type Started, startAllOrNothing } from "#platform/process/started.ts";
import { PLANNER_SETTINGS } from "../../services/server/log/database.ts";

const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });

/**
 * Starts a durable PostgreSQL with Lucky's tables, which are empty. `settings` of PostgreSQL override those of
 * Lucky's.
 */
export async function startDatabase(
  started: Started,
  settings: Readonly<Record<string, string>> = {},
): Promise<{ url: string; socketUrl: string; pool: pg.Pool; ids: Ids }> {
  const folder = await mkdtemp(join(tmpdir(), "lucky-bench-"));
  started.push(() => rm(folder, { recursive: true, force: true }));
  // PostgreSQL runs under another account when this runs as root.
  await chmod(folder, 0o711);
  const postgres = await startEmbedded({ dataDir: folder, log, settings });
  started.push(() => postgres.stop());
  await migrate({ url: postgres.url, log });
  await assignBuckets([{ url: postgres.url }]);
  const pool = createPool({
    url: postgres.url,
    max: 8,
    session: PLANNER_SETTINGS,
    log,
    name: "bench",
  });
  started.push(() => pool.end());
  const worker = await holdWorker({ pool, clock: systemClock, holder: "bench", log });
  started.push(() => worker.release());
  return {
    url: postgres.url,
    socketUrl: postgres.socketUrl,
    pool,
    ids: createIds({ window: worker.window, clock: systemClock }),
  };
}

/** Runs work, and afterwards stops everything that it pushed to `started`, in reverse order. */
export async function withCleanUp<T>(work: (started: Started) => Promise<T>): Promise<T> {
  let stop = async () => {};
  const result = await startAllOrNothing(async (started) => {
    stop = () => started.stop();
    return work(started);
  });
  await stop();
  return result;
}
