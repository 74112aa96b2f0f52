import { closeSync } from "node:fs";
import { mkdir, readFile, realpath, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { lockFile } from "./file-lock.ts";

/** Maximum length of the folder's path: PostgreSQL cuts paths of its files at 1,023 bytes. */
const MAX_PATH_BYTES = 800;

/** A folder that no other process uses. */
export interface HeldFolder {
  /** Absolute path without symbolic links. */
  readonly path: string;
  /** Idempotent. */
  release(): void;
}

/**
 * Creates the folder when it is missing, and holds it until the release or the end of this process.
 * Throws an error that names the holder when another process on this machine holds it, or another
 * part of this one.
 */
export async function holdFolder(dataDir: string): Promise<HeldFolder> {
  const given = resolve(dataDir);
  if (/[\r\n]/.test(given))
    throw new Error(`The path of the data folder ${JSON.stringify(given)} contains a line break.`);
  if (Buffer.byteLength(given) > MAX_PATH_BYTES)
    throw new Error(
      `The path of the data folder ${given} is too long: at most ${MAX_PATH_BYTES} bytes.`,
    );
  // Mode 711: PostgreSQL may run under another account, which must reach its own folder inside.
  await mkdir(given, { recursive: true, mode: 0o711 });
  const path = await realpath(given);
  const file = join(path, "owner");
  let descriptor = await lockFile(file, { waitMs: 0 });
  if (descriptor === undefined) {
    const owner = await readFile(file, "utf8").catch(() => "");
    throw new Error(
      `The database in ${path} is in use by ${described(owner)}. Stop that one first, or use another data folder.`,
    );
  }
  const release = () => {
    if (descriptor !== undefined) closeSync(descriptor);
    descriptor = undefined;
  };
  try {
    // Only a text for the error above; the lock itself decides.
    await writeFile(file, `${process.pid} ${hostname()}\n`);
  } catch (error) {
    release();
    throw error;
  }
  return { path, release };
}

/** The holder, from its pid and host name. A container has a host name and pids of its own. */
function described(owner: string): string {
  const [pid, host] = owner.trim().split(" ");
  if (!pid) return "another process";
  return host ? `the running process ${pid} on ${host}` : `the running process ${pid}`;
}
