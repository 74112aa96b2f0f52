import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync } from "node:fs";
import { dirname } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";

/** Flag of open(2) on macOS and BSD that takes the lock, too. Linux has no such flag. */
const O_EXLOCK = 0x20;
const POLL_INTERVAL_MS = 50;
/** Exit code of flock(1) when another process holds the lock. */
const LOCKED = 1;

export interface LockOptions {
  /** Time to wait for another holder to release the lock, milliseconds. */
  readonly waitMs: number;
}

/**
 * Locks a file with flock(2), and creates it when it is missing. The file locks out all processes of
 * the machine, also those in other containers, where pids mean nothing.
 *
 * Returns a file descriptor, or undefined when another process still holds the lock after the wait.
 * The kernel releases the lock when the last process with the descriptor closes it or ends, even by
 * SIGKILL: a stale lock does not exist. A child process that inherits the descriptor holds the lock
 * as well. Throws when the file cannot be opened or locked.
 */
export function lockFile(path: string, { waitMs }: LockOptions): Promise<number | undefined> {
  return process.platform === "linux" ? lockByProgram(path, waitMs) : lockByOpen(path, waitMs);
}

/** Node has no flock(2). flock(1) locks an inherited descriptor; this process keeps the lock. */
async function lockByProgram(path: string, waitMs: number): Promise<number | undefined> {
  const descriptor = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const wait = waitMs > 0 ? ["-w", String(waitMs / 1_000)] : ["-n"];
    const child = spawn("flock", ["-x", ...wait, "3"], {
      stdio: ["ignore", "ignore", "pipe", descriptor],
    });
    const [[code], output] = await Promise.all([
      once(child, "close"),
      text(child.stderr as NonNullable<ChildProcess["stderr"]>),
    ]);
    if (code === 0) return descriptor;
    if (code !== LOCKED) throw new Error(`${path} cannot be locked: ${output.trim()}`);
  } catch (error) {
    closeSync(descriptor);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new Error("The program flock is missing. Install the package util-linux.", {
      cause: error,
    });
  }
  closeSync(descriptor);
  return undefined;
}

async function lockByOpen(path: string, waitMs: number): Promise<number | undefined> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NONBLOCK | O_EXLOCK;
  for (const until = Date.now() + waitMs; ; await pause(POLL_INTERVAL_MS)) {
    try {
      return openSync(path, flags, 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      if (Date.now() >= until) return undefined;
    }
  }
}

/**
 * Locks a file for child processes: `launch` passes the descriptor on to the process that it starts,
 * and this process closes its own copy afterwards. The lock lasts until that process and all its
 * children have ended. Throws when such a process still runs after the wait.
 */
export async function lendLock<T>(
  path: string,
  options: LockOptions,
  launch: (descriptor: number) => T | Promise<T>,
): Promise<T> {
  const descriptor = await lockFile(path, options);
  if (descriptor === undefined)
    throw new Error(
      `A PostgreSQL that this process cannot see still runs on ${dirname(path)}, perhaps in another container. Stop it first, or use another data folder.`,
    );
  try {
    return await launch(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
