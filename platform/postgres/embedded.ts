import { type AddressInfo, createServer } from "node:net";
import { join, resolve } from "node:path";
import pg from "pg";
import { type Clock, systemClock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { findAccount, planLaunch } from "./embedded/account.ts";
import { findBinaries } from "./embedded/binaries.ts";
import { createCluster, loadOrCreatePassword, makeSocketFolder, USER } from "./embedded/cluster.ts";
import { onDataFolder } from "./embedded/data-folder.ts";
import { type HeldFolder, holdFolder } from "./embedded/held-folder.ts";
import { type Postmaster, StartError, startPostmaster } from "./embedded/postmaster.ts";
import { supervise } from "./embedded/supervisor.ts";

export interface EmbeddedOptions {
  /** Folder of the database, created when missing. */
  readonly dataDir: string;
  /** Port on 127.0.0.1; 0 or absent selects any free port. */
  readonly port?: number;
  /** Ports that a free port must not be, because another part of this process opens them later. */
  readonly reservedPorts?: readonly number[];
  readonly log: Log;
  /** Clock of the back-off between restarts; the system clock when absent. */
  readonly clock?: Clock;
  /** Additional settings of PostgreSQL; they override the built-in ones. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A running PostgreSQL, which is restarted with the same address when it exits. */
export interface EmbeddedPostgres {
  /** postgresql://… over TCP. Contains the password: not for logs. */
  readonly url: string;
  /**
   * The same database over a Unix socket, which costs less processor time. Equal to `url` when the
   * path of the folder is too long for a socket.
   */
  readonly socketUrl: string;
  /** Resolves with an error for operators when PostgreSQL has exited and cannot be restarted. */
  readonly failed: Promise<Error>;
  /** Fast shutdown, with a time-out of about 15 s. Idempotent. */
  stop(): Promise<void>;
}

const DATABASE = "lucky";
const FREE_PORT_TRIES = 5;

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

/**
 * Starts the PostgreSQL of the npm package on its own folder, which the first start creates. It
 * listens on 127.0.0.1 only. The folder stores its random password, mode 0600.
 *
 * A leftover PostgreSQL of a killed process on the folder is stopped first. Throws an error for
 * operators when another process uses the folder, also one in another container, when the folder
 * cannot be written, when the port is in use, or when PostgreSQL does not start.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  return onDataFolder(resolve(options.dataDir), async () => {
    const folder = await holdFolder(options.dataDir);
    try {
      return await startOn(folder, options);
    } catch (error) {
      folder.release();
      throw error;
    }
  });
}

async function startOn(folder: HeldFolder, options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const { log, clock = systemClock } = options;
  const cluster = join(folder.path, "cluster");
  const lock = join(folder.path, "cluster.lock");
  const binaries = await findBinaries();
  const account = await findAccount();
  const launch = await planLaunch(account, { program: binaries.postgres, data: cluster });
  const password = await loadOrCreatePassword(folder.path);
  await createCluster({
    folder: folder.path,
    cluster,
    lock,
    password,
    launch,
    account,
    initdb: binaries.initdb,
    sync: options.settings?.fsync !== "off",
  });
  const sockets = await makeSocketFolder(folder.path, account);
  const start = (port: number, signal?: AbortSignal) =>
    startPostmaster({
      program: binaries.postgres,
      cluster,
      lock,
      settings: {
        ...SETTINGS,
        unix_socket_directories: sockets === undefined ? "" : quoted(sockets),
        ...options.settings,
        port: String(port),
      },
      launch,
      clock,
      log,
      signal,
    });

  const { first, port } = await startOnPort(options, start);
  const login = `${USER}:${password}`;
  const url = `postgresql://${login}@127.0.0.1:${port}/${DATABASE}`;
  await createDatabase(url).catch(async (error) => {
    await first.stop();
    throw error;
  });
  const { failed, stop } = supervise({
    first,
    start: (signal) => onDataFolder(folder.path, () => start(port, signal)),
    clock,
    log,
  });
  return {
    url,
    socketUrl: sockets
      ? `postgresql://${login}@/${DATABASE}?host=${encodeURIComponent(sockets)}&port=${port}`
      : url,
    failed,
    async stop() {
      await stop();
      folder.release();
    },
  };
}

/** Starts PostgreSQL on the given port, or on any free one. */
async function startOnPort(
  { port: given, reservedPorts = [] }: EmbeddedOptions,
  start: (port: number) => Promise<Postmaster>,
): Promise<{ readonly first: Postmaster; readonly port: number }> {
  for (let left = FREE_PORT_TRIES; ; left -= 1) {
    const port = given || (await freePort(reservedPorts));
    try {
      return { first: await start(port), port };
    } catch (error) {
      if (!(error instanceof StartError && error.portTaken)) throw error;
      // Race: another process took the free port before PostgreSQL did. Retry with another port.
      if (!given && left > 1) continue;
      throw new Error(`PostgreSQL cannot listen on 127.0.0.1:${port}: the port is taken.`, {
        cause: error,
      });
    }
  }
}

/** An item of a list in a setting of PostgreSQL: commas, spaces and quotes belong to the item. */
function quoted(item: string): string {
  return `"${item.replaceAll('"', '""')}"`;
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

async function freePort(reserved: readonly number[]): Promise<number> {
  for (;;) {
    const server = createServer();
    await new Promise<void>((listening, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", listening);
    });
    const { port } = server.address() as AddressInfo;
    await new Promise((closed) => server.close(closed));
    if (!reserved.includes(port)) return port;
  }
}
