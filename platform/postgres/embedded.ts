import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { access, chown, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import type { Log } from "#platform/log.ts";
import { type Account, findAccount, type Launch, planLaunch } from "./account.ts";
import { findBinaries } from "./binaries.ts";
import { stopLeftover } from "./leftover.ts";

export interface EmbeddedOptions {
  /** Folder of the database, made when missing. */
  dataDir: string;
  /** Port on 127.0.0.1; 0 or absent: a free one. */
  port?: number;
  log: Log;
  /** Settings of PostgreSQL besides ours, which they override. */
  settings?: Record<string, string>;
}

/** A PostgreSQL that runs until it is stopped. */
export interface EmbeddedPostgres {
  /** postgresql://… over TCP, with the password: not for logs. */
  url: string;
  /**
   * The same by a Unix socket, which costs less processor time; equal to `url` where the path of the
   * folder is too long for one.
   */
  socketUrl: string;
  /** Fast shutdown, bounded to about 15 s. Idempotent. */
  stop(): Promise<void>;
}

const USER = "lucky";
const DATABASE = "lucky";
const START_MS = 60_000;
const STOP_MS = 10_000;
const QUIT_MS = 5_000;
const FREE_PORT_TRIES = 5;
/** 107 bytes are the most that a path may have on Linux, 103 on macOS; the file's name is in them. */
const SOCKET_FOLDER_BYTES = 103 - "/.s.PGSQL.65535.lock".length;

const ours: Record<string, string> = {
  listen_addresses: "127.0.0.1",
  // As over TCP, it is the password that counts: we may run under another account.
  unix_socket_permissions: "0777",
  max_connections: "100",
  shared_buffers: "128MB",
  synchronous_commit: "on",
  // Zeros written in advance are half of what the log writes while it grows: without them 7 % more
  // messages, and the slowest of 1,000 a second after 7 ms instead of 13 (measured). A commit waits for
  // its bytes to be on the disk as before, the place of them included. A full disk shows later: in the
  // middle of a segment, and PostgreSQL restarts from its log instead of refusing the next segment.
  wal_init_zero: "off",
  wal_buffers: "16MB",
  timezone: "UTC",
  log_timezone: "UTC",
  lc_messages: "C",
  // Statements and row values never reach our log.
  log_min_messages: "log",
  log_min_error_statement: "panic",
  log_error_verbosity: "terse",
  log_line_prefix: "",
};

// Nothing of our environment (PGPORT, PGOPTIONS …) changes how it runs.
const environment = { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };

/**
 * Starts the PostgreSQL that came with the packages on a folder of its own, listening on 127.0.0.1
 * only, and makes the folder at the first start. The folder keeps the random password, mode 0600.
 *
 * A PostgreSQL that a killed process left behind on the folder is stopped first. Throws, in a plain
 * sentence, when the folder is in use by a live process, the port is taken, or PostgreSQL does not
 * start.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const { log } = options;
  const folder = resolve(options.dataDir);
  const cluster = join(folder, "cluster");
  const ownerFile = join(folder, "owner");
  const binaries = await findBinaries();
  const account = await findAccount();
  await mkdir(folder, { recursive: true, mode: 0o711 });
  const owner = Number(await readFile(ownerFile, "utf8").catch(() => "")) || undefined;
  await stopLeftover({ cluster, owner, log });
  await writeFile(ownerFile, String(process.pid));

  const launch = await planLaunch(account, { program: binaries.postgres, data: cluster });
  const password = await keepPassword(join(folder, "password"));
  await initialise({
    folder,
    cluster,
    password,
    launch,
    account,
    initdb: binaries.initdb,
    sync: options.settings?.fsync !== "off",
  });

  const sockets = await makeSocketFolder(folder, account);
  for (let left = FREE_PORT_TRIES; ; left -= 1) {
    const port = options.port || (await freePort());
    const settings = {
      ...ours,
      unix_socket_directories: sockets ?? "",
      ...options.settings,
      port: String(port),
    };
    try {
      const child = await start({ program: binaries.postgres, cluster, settings, launch, log });
      const url = `postgresql://${USER}:${password}@127.0.0.1:${port}/${DATABASE}`;
      const stop = stopper(child, log);
      await createDatabase(url).catch(async (error) => {
        await stop();
        throw error;
      });
      const login = `${USER}:${password}`;
      const socketUrl = sockets
        ? `postgresql://${login}@/${DATABASE}?host=${encodeURIComponent(sockets)}&port=${port}`
        : url;
      return { url, socketUrl, stop };
    } catch (error) {
      const taken = error instanceof StartError && error.portTaken;
      // Somebody took the free port before PostgreSQL did.
      if (taken && !options.port && left > 1) continue;
      if (taken)
        throw new Error(`PostgreSQL cannot listen on 127.0.0.1:${port}: the port is taken.`, {
          cause: error,
        });
      throw error;
    }
  }
}

/** The folder for the Unix socket; undefined where its path would be too long for one. */
async function makeSocketFolder(folder: string, account: Account | undefined) {
  const sockets = join(folder, "socket");
  if (Buffer.byteLength(sockets) > SOCKET_FOLDER_BYTES) return undefined;
  await mkdir(sockets, { recursive: true, mode: 0o711 });
  if (account) await chown(sockets, account.uid, account.gid);
  return sockets;
}

async function keepPassword(file: string): Promise<string> {
  const kept = await readFile(file, "utf8").catch(() => "");
  if (kept !== "") return kept;
  const made = randomBytes(24).toString("base64url");
  await writeFile(file, made, { mode: 0o600 });
  return made;
}

/** Makes the cluster unless it is there; an attempt that was cut short is begun anew. */
async function initialise(options: {
  folder: string;
  cluster: string;
  password: string;
  launch: Launch;
  account: Account | undefined;
  initdb: string;
  sync: boolean;
}): Promise<void> {
  const { folder, cluster, password, launch, account, initdb, sync } = options;
  const exists = await access(cluster).then(
    () => true,
    () => false,
  );
  if (exists) return;
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
    env: environment,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaint = "";
  child.stderr.on("data", (chunk) => {
    complaint += chunk;
  });
  const code = await new Promise<number | null>((settle, reject) => {
    child.on("error", reject);
    child.on("close", settle);
  });
  await rm(passwordFile, { force: true });
  if (code !== 0) throw new Error(`PostgreSQL's initdb failed: ${complaint.trim()}`);
  await rename(unfinished, cluster);
}

class StartError extends Error {
  readonly portTaken: boolean;

  constructor(lines: readonly string[]) {
    super(`PostgreSQL did not start: ${lines.join(" · ") || "it said nothing"}`);
    this.portTaken = lines.some((line) => line.includes("Address already in use"));
  }
}

/** Resolves when PostgreSQL accepts connections. */
async function start(options: {
  program: string;
  cluster: string;
  settings: Record<string, string>;
  launch: Launch;
  log: Log;
}): Promise<ChildProcess> {
  const { program, cluster, settings, launch, log } = options;
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const { file, args } = launch.command(program, ["-D", cluster, ...flags]);
  const child = spawn(file, args, {
    ...launch.ids,
    cwd: "/",
    env: environment,
    stdio: ["ignore", "ignore", "pipe"],
    // A group of its own: Ctrl-C in a terminal is for us, and we stop PostgreSQL last.
    detached: true,
  });
  const said: string[] = [];
  await new Promise<void>((ready, reject) => {
    const late = setTimeout(() => {
      child.kill("SIGQUIT");
      reject(new StartError([...said, `not ready after ${START_MS / 1_000} s`]));
    }, START_MS);
    const lines = createInterface({ input: child.stderr });
    lines.on("line", (line) => {
      if (said.length < 20) said.push(line);
      const level = /^(FATAL|PANIC)/.test(line) ? "warn" : "debug";
      log[level]({ event: "postgres", line });
      if (line.includes("ready to accept connections")) {
        clearTimeout(late);
        ready();
      }
    });
    child.on("error", (error) => {
      clearTimeout(late);
      reject(error);
    });
    child.on("close", () => {
      clearTimeout(late);
      reject(new StartError(said));
    });
  });
  return child;
}

function stopper(child: ChildProcess, log: Log): () => Promise<void> {
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const abandon = () => child.kill("SIGINT");
  // A process that exits without stopping us leaves nothing behind.
  process.once("exit", abandon);
  let stopping: Promise<void> | undefined;
  child.once("close", (code) => {
    process.off("exit", abandon);
    if (!stopping) log.error({ event: "postgres_ended", code });
  });
  const stop = async () => {
    child.kill("SIGINT");
    if (await within(gone, STOP_MS)) return;
    log.warn({ event: "postgres_slow_to_stop" });
    child.kill("SIGQUIT");
    if (!(await within(gone, QUIT_MS))) child.kill("SIGKILL");
  };
  return () => {
    stopping ??= child.exitCode === null && child.signalCode === null ? stop() : gone;
    return stopping;
  };
}

async function within(event: Promise<void>, ms: number): Promise<boolean> {
  const over = new AbortController();
  const happened = await Promise.race([
    event.then(() => true),
    pause(ms, false, { signal: over.signal }),
  ]);
  over.abort();
  return happened;
}

async function createDatabase(url: string): Promise<void> {
  const maintenance = new URL(url);
  maintenance.pathname = "/postgres";
  const client = new pg.Client({ connectionString: maintenance.href });
  await client.connect();
  try {
    const { rowCount } = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [
      DATABASE,
    ]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", listening);
  });
  const address = server.address();
  await new Promise((closed) => server.close(closed));
  return typeof address === "object" && address ? address.port : 0;
}
