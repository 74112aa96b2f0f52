import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
import { createLog } from "#platform/log.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { createPool } from "#platform/postgres/pool.ts";

/**
 * What can run something at its end: a test context, or `{ after }` of node:test at the top of a
 * file (`const { pool } = await startTestPostgres({ after })`; in a hook it would end too early).
 */
interface Ending {
  after(close: () => Promise<void>): void;
}

/** A log that nobody reads. */
export const quiet = createLog({ service: "test", instanceId: "test", level: "silent" });

/**
 * Starts a migrated PostgreSQL of its own on a free port, in a folder that is removed at the end.
 * It forgets everything when the machine does: tests do not wait for the disk.
 */
export async function startTestPostgres(
  t: Ending,
  options: { max?: number } = {},
): Promise<{ url: string; pool: pg.Pool }> {
  const folder = await mkdtemp(join(tmpdir(), "lucky-postgres-"));
  // PostgreSQL runs under another account when the test runs as root.
  await chmod(folder, 0o711);
  const postgres = await startEmbedded({
    dataDir: folder,
    log: quiet,
    settings: { fsync: "off", full_page_writes: "off", io_method: "sync", shared_buffers: "32MB" },
  });
  const pool = createPool({ url: postgres.url, max: options.max ?? 8, log: quiet, name: "test" });
  const guard = stopWithUs(join(folder, "cluster", "postmaster.pid"));
  t.after(async () => {
    guard.kill("SIGKILL");
    await pool.end();
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  });
  await migrate({ url: postgres.url, log: quiet });
  return { url: postgres.url, pool };
}

/** A test that is killed takes its PostgreSQL along: the guard's input ends when we do. */
function stopWithUs(pidFile: string): ChildProcess {
  const script = 'cat; kill -QUIT "$(head -n 1 "$0")"';
  const guard = spawn("sh", ["-c", script, pidFile], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  guard.unref();
  (guard.stdin as Socket).unref();
  return guard;
}
