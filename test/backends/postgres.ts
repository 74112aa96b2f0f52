import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
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

/**
 * Starts a migrated PostgreSQL on a free port, in a folder of its own. Both are removed at teardown.
 * It does not sync to disk, so that tests do not wait for it; a crash of the machine loses the data. The
 * sessions of the pool have the planner settings of server.
 */
export async function startTestPostgres(
  t: Teardown,
  options: { max?: number } = {},
): Promise<{ url: string; pool: pg.Pool }> {
  const folder = await mkdtemp(join(tmpdir(), "lucky-postgres-"));
  // PostgreSQL runs under another account when the test runs as root.
  await chmod(folder, 0o711);
  await copyPostgresTemplate(folder, quiet);
  const postgres = await startEmbedded({
    dataDir: folder,
    log: quiet,
    settings: { fsync: "off", full_page_writes: "off", io_method: "sync", shared_buffers: "32MB" },
  });
  const pool = createPool({
    url: postgres.url,
    max: options.max ?? 8,
    session: PLANNER_SETTINGS,
    log: quiet,
    name: "test",
  });
  const guard = stopWithThisProcess(join(folder, "cluster", "postmaster.pid"));
  t.after(async () => {
    guard.kill("SIGKILL");
    await pool.end();
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  });
  // Only reads the table of migrations, unless there was no template to copy.
  await migrate({ url: postgres.url, log: quiet });
  return { url: postgres.url, pool };
}
