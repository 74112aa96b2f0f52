import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { access, chown, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Account, Launch } from "./account.ts";
import { lendLock } from "./file-lock.ts";
import { ENVIRONMENT, LOCK_WAIT_MS } from "./postmaster.ts";

/** The superuser of a new cluster. */
export const USER = "lucky";

/** Maximum length of a socket path, file name included: 107 bytes on Linux, 103 on macOS. */
const SOCKET_FOLDER_BYTES = 103 - "/.s.PGSQL.65535.lock".length;

/** Reads the random password of the cluster; creates it when the folder has none. */
export async function loadOrCreatePassword(folder: string): Promise<string> {
  const file = join(folder, "password");
  const stored = await readFile(file, "utf8").catch(() => "");
  if (stored !== "") return stored;
  const created = randomBytes(24).toString("base64url");
  // Flushed before the cluster is: after a power failure, the cluster must not outlast its password.
  await writeFile(file, created, { mode: 0o600, flush: true });
  return created;
}

/** Creates the folder for the Unix socket; undefined when its path is too long for a socket. */
export async function makeSocketFolder(
  folder: string,
  account: Account | undefined,
): Promise<string | undefined> {
  const sockets = join(folder, "socket");
  if (Buffer.byteLength(sockets) > SOCKET_FOLDER_BYTES) return undefined;
  await mkdir(sockets, { recursive: true, mode: 0o711 });
  if (account) await chown(sockets, account.uid, account.gid);
  return sockets;
}

export interface ClusterOptions {
  readonly folder: string;
  readonly cluster: string;
  /** File whose lock initdb and its processes hold. */
  readonly lock: string;
  readonly password: string;
  readonly launch: Launch;
  readonly account: Account | undefined;
  readonly initdb: string;
  readonly sync: boolean;
}

/** Creates the cluster unless it exists. Replaces the remains of an interrupted attempt. */
export async function createCluster(options: ClusterOptions): Promise<void> {
  const exists = await access(options.cluster).then(
    () => true,
    () => false,
  );
  if (exists) return;
  // The lock also waits for the initdb of a process that was killed meanwhile.
  await lendLock(options.lock, { waitMs: LOCK_WAIT_MS }, (lock) => initialise(options, lock));
}

async function initialise(options: ClusterOptions, lock: number): Promise<void> {
  const { folder, cluster, password, launch, account, initdb, sync } = options;
  const unfinished = join(folder, "cluster.new");
  const passwordFile = join(folder, "password.new");
  await rm(unfinished, { recursive: true, force: true });
  await rm(passwordFile, { force: true });
  await mkdir(unfinished, { mode: 0o700 });
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (account) {
    await chown(unfinished, account.uid, account.gid);
    await chown(passwordFile, account.uid, account.gid);
  }
  const { file, args } = launch.command(initdb, [
    `--pgdata=${unfinished}`,
    `--username=${USER}`,
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--no-instructions",
    ...(sync ? [] : ["--no-sync"]),
  ]);
  const child = spawn(file, args, {
    ...launch.ids,
    cwd: "/",
    env: ENVIRONMENT,
    stdio: ["ignore", "ignore", "pipe", lock],
  });
  let output = "";
  child.stderr?.on("data", (chunk) => {
    output += chunk;
  });
  const code = await new Promise<number | null>((settle, reject) => {
    child.on("error", reject);
    child.on("close", settle);
  });
  await rm(passwordFile, { force: true });
  if (code !== 0) throw new Error(`PostgreSQL's initdb failed: ${output.trim()}`);
  await rename(unfinished, cluster);
}
