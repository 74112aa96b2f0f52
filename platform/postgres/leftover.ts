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

/** State of a process in the operating system. */
export interface ProcessState {
  /** Pid of the parent. */
  parent: number;
  /** Command line with arguments. */
  command: string;
}

/** Reads the state of a process; undefined when it does not run or is a zombie. */
export async function inspectProcess(pid: number): Promise<ProcessState | undefined> {
  try {
    if (process.platform === "linux") {
      const command = await readFile(`/proc/${pid}/cmdline`, "utf8");
      const status = await readFile(`/proc/${pid}/status`, "utf8");
      if (/^State:\s*Z/m.test(status)) return undefined;
      const parent = Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]);
      return { parent, command: command.replaceAll("\0", " ") };
    }
    const { stdout } = await run("ps", ["-o", "ppid=,command=", "-p", String(pid)]);
    const [, parent, command] = /^\s*(\d+)\s+(.*)/.exec(stdout) ?? [];
    return command === undefined ? undefined : { parent: Number(parent), command };
  } catch {
    return undefined;
  }
}

async function exitsWithin(pid: number, timeoutMs: number): Promise<boolean> {
  for (const until = performance.now() + timeoutMs; performance.now() < until; await pause(20))
    if ((await inspectProcess(pid)) === undefined) return true;
  return false;
}

/**
 * Stops a PostgreSQL that a killed Lucky process left running on `cluster`, and waits until it has
 * exited. Removes a stale pid file.
 *
 * `owner` is the pid of the process that last started the cluster. Throws when that process still
 * uses its PostgreSQL, or when the leftover cannot be stopped.
 */
export async function stopLeftover(options: {
  cluster: string;
  owner: number | undefined;
  log: Log;
}): Promise<void> {
  const { cluster, owner, log } = options;
  const pidFile = join(cluster, "postmaster.pid");
  const pid = Number.parseInt(await readFile(pidFile, "utf8").catch(() => ""), 10);
  if (!(pid > 0)) return;
  const found = await inspectProcess(pid);
  // No process has this pid, or another program has it by now. PostgreSQL does not always detect
  // that.
  if (!found?.command.includes(cluster)) return rm(pidFile, { force: true });
  if (found.parent === owner)
    throw new Error(
      `The database in ${cluster} is in use by the running process ${owner}. Stop that one first, or use another data folder.`,
    );
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
