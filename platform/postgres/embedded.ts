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
import { IMMEDIATE_SHUTDOWN_MS, stopLeftover } from "./leftover.ts";

export interface EmbeddedOptions {
  /** Folder of the database, created when missing. */
  dataDir: string;
  /** Port on 127.0.0.1; 0 or absent selects any free port. */
  port?: number;
  log: Log;
  /** Additional settings of PostgreSQL; they override the built-in ones. */
  settings?: Record<string, string>;
}

/** A running PostgreSQL. */
export interface EmbeddedPostgres {
  /** postgresql://… over TCP. Contains the password: not for logs. */
  url: string;
  /**
   * The same database over a Unix socket, which costs less processor time. Equal to `url` when the
   * path of the folder is too long for a socket.
   */
  socketUrl: string;
  /** Fast shutdown, with a time-out of about 15 s. Idempotent. */
  stop(): Promise<void>;
}

const USER = "lucky";
const DATABASE = "lucky";
const START_TIMEOUT_MS = 60_000;
const FAST_SHUTDOWN_MS = 10_000;
const FREE_PORT_TRIES = 5;
/** Maximum length of a socket path, file name included: 107 bytes on Linux, 103 on macOS. */
const SOCKET_FOLDER_BYTES = 103 - "/.s.PGSQL.65535.lock".length;

const SETTINGS: Record<string, string> = {
  listen_addresses: "127.0.0.1",
  // PostgreSQL may run under another account. The password authenticates, as over TCP.
  unix_socket_permissions: "0777",
  max_connections: "100",
  shared_buffers: "128MB",
  synchronous_commit: "on",
  // By default, PostgreSQL fills a new log segment with zeros, half of all writes while the log
  // grows. Without the zeros: 7 % more messages, and at 1,000 messages a second a p99 of 7 ms
  // instead of 13 (measured). A commit still waits until its bytes and their location are on the
  // disk. A full disk is detected later, in the middle of a segment: PostgreSQL then restarts from
  // its log instead of refusing the next segment.
  wal_init_zero: "off",
  wal_buffers: "16MB",
  timezone: "UTC",
  log_timezone: "UTC",
  lc_messages: "C",
  // Statements and row values must not appear in the log.
  log_min_messages: "log",
  log_min_error_statement: "panic",
  log_error_verbosity: "terse",
  log_line_prefix: "",
};

// A clean environment: variables such as PGPORT and PGOPTIONS must not change its behaviour.
const ENVIRONMENT = { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };

/**
 * Starts the PostgreSQL of the npm package on its own folder, which the first start creates. It
 * listens on 127.0.0.1 only. The folder stores its random password, mode 0600.
 *
 * A leftover PostgreSQL of a killed process on the folder is stopped first. Throws an error for
 * operators when a live process uses the folder, the port is in use, or PostgreSQL does not start.
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
  const password = await loadOrCreatePassword(join(folder, "password"));
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
      ...SETTINGS,
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
      // Race: another process took the free port before PostgreSQL did. Retry with another port.
      if (taken && !options.port && left > 1) continue;
      if (taken)
        throw new Error(`PostgreSQL cannot listen on 127.0.0.1:${port}: the port is taken.`, {
          cause: error,
        });
      throw error;
    }
  }
}

/** Creates the folder for the Unix socket; undefined when its path is too long for a socket. */
async function makeSocketFolder(folder: string, account: Account | undefined) {
  const sockets = join(folder, "socket");
  if (Buffer.byteLength(sockets) > SOCKET_FOLDER_BYTES) return undefined;
  await mkdir(sockets, { recursive: true, mode: 0o711 });
  if (account) await chown(sockets, account.uid, account.gid);
  return sockets;
}

async function loadOrCreatePassword(file: string): Promise<string> {
  const stored = await readFile(file, "utf8").catch(() => "");
  if (stored !== "") return stored;
  const created = randomBytes(24).toString("base64url");
  await writeFile(file, created, { mode: 0o600 });
  return created;
}

/** Creates the cluster unless it exists. Replaces the remains of an interrupted attempt. */
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
    env: ENVIRONMENT,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  child.stderr.on("data", (chunk) => {
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

class StartError extends Error {
  readonly portTaken: boolean;

  constructor(lines: readonly string[]) {
    super(`PostgreSQL did not start: ${lines.join(" · ") || "no output"}`);
    this.portTaken = lines.some((line) => line.includes("Address already in use"));
  }
}

/** Starts the process. Resolves when PostgreSQL accepts connections. */
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
    env: ENVIRONMENT,
    stdio: ["ignore", "ignore", "pipe"],
    // Its own process group: Ctrl-C in a terminal reaches only us, and we stop PostgreSQL last.
    detached: true,
  });
  const output: string[] = [];
  await new Promise<void>((ready, reject) => {
    const timeout = setTimeout(() => {
      child.kill("SIGQUIT");
      reject(new StartError([...output, `not ready after ${START_TIMEOUT_MS / 1_000} s`]));
    }, START_TIMEOUT_MS);
    const lines = createInterface({ input: child.stderr });
    lines.on("line", (line) => {
      if (output.length < 20) output.push(line);
      const level = /^(FATAL|PANIC)/.test(line) ? "warn" : "debug";
      log[level]({ event: "postgres", line });
      if (line.includes("ready to accept connections")) {
        clearTimeout(timeout);
        ready();
      }
    });
    child.on("error", (error) => {
      clearTimeout(timeout);
      reject(error);
    });
    child.on("close", () => {
      clearTimeout(timeout);
      reject(new StartError(output));
    });
  });
  return child;
}

function stopper(child: ChildProcess, log: Log): () => Promise<void> {
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const stopAtExit = () => child.kill("SIGINT");
  // Stops PostgreSQL also when our process exits without calling stop.
  process.once("exit", stopAtExit);
  let stopping: Promise<void> | undefined;
  child.once("close", (code) => {
    process.off("exit", stopAtExit);
    if (!stopping) log.error({ event: "postgres_exited", code });
  });
  const stop = async () => {
    child.kill("SIGINT");
    if (await within(gone, FAST_SHUTDOWN_MS)) return;
    log.warn({ event: "postgres_slow_to_stop" });
    child.kill("SIGQUIT");
    if (!(await within(gone, IMMEDIATE_SHUTDOWN_MS))) child.kill("SIGKILL");
  };
  return () => {
    stopping ??= child.exitCode === null && child.signalCode === null ? stop() : gone;
    return stopping;
  };
}

async function within(event: Promise<void>, ms: number): Promise<boolean> {
  const done = new AbortController();
  const happened = await Promise.race([
    event.then(() => true),
    pause(ms, false, { signal: done.signal }),
  ]);
  done.abort();
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
