import { execFile } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import type { Log } from "#platform/log.ts";

const run = promisify(execFile);

/** Time-out of PostgreSQL's fast shutdown (SIGINT). */
const FAST_SHUTDOWN_MS = 30_000;
/** Time-out of PostgreSQL's immediate shutdown (SIGQUIT). */
export const IMMEDIATE_SHUTDOWN_MS = 5_000;

/** The command line of a process; undefined when it does not run or is a zombie. */
export async function commandOf(pid: number): Promise<string | undefined> {
  try {
    if (process.platform === "linux") {
      const command = await readFile(`/proc/${pid}/cmdline`, "utf8");
      const status = await readFile(`/proc/${pid}/status`, "utf8");
      return /^State:\s*Z/m.test(status) ? undefined : command.replaceAll("\0", " ");
    }
    const { stdout } = await run("ps", ["-o", "command=", "-p", String(pid)]);
    return stdout.trim();
  } catch {
    return undefined;
  }
}

async function exitsWithin(pid: number, timeoutMs: number): Promise<boolean> {
  for (const until = performance.now() + timeoutMs; performance.now() < until; await pause(20))
    if ((await commandOf(pid)) === undefined) return true;
  return false;
}

/**
 * Stops a PostgreSQL that a killed Lucky process left running on `cluster`, and waits until it has
 * exited. Removes a stale pid file. The caller holds the folder, so no live process uses the
 * PostgreSQL. Throws when it cannot be stopped.
 *
 * It finds only processes in its own container; the inherited lock detects the others.
 */
export async function stopLeftover(options: { cluster: string; log: Log }): Promise<void> {
  const { cluster, log } = options;
  const pidFile = join(cluster, "postmaster.pid");
  const pid = Number.parseInt(await readFile(pidFile, "utf8").catch(() => ""), 10);
  if (!(pid > 0)) return;
  const command = await commandOf(pid);
  // No process has this pid, or another program has it by now. PostgreSQL does not always detect
  // that.
  if (!command?.includes(cluster)) return rm(pidFile, { force: true });
  log.warn({ event: "postgres_leftover", pid, action: "stopping it" });
  try {
    process.kill(pid, "SIGINT");
    if (await exitsWithin(pid, FAST_SHUTDOWN_MS)) return;
    process.kill(pid, "SIGQUIT");
    if (await exitsWithin(pid, IMMEDIATE_SHUTDOWN_MS)) return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return;
    throw new Error(
      `A PostgreSQL (process ${pid}) still runs on ${cluster} and may not be stopped by this user.`,
      { cause: error },
    );
  }
  throw new Error(`A PostgreSQL (process ${pid}) still runs on ${cluster} and does not stop.`);
}
