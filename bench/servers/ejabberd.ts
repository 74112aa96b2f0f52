import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, globSync, rmSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";
import { freePorts } from "../../scripts/ports.ts";
import { DOMAIN } from "../generator/dialects/xmpp.ts";
import type { Rival } from "./start.ts";

const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 100;
const ANSWER_TIMEOUT_MS = 5_000;
const LOG_LINES = 15;

/** Paths of Debian's packages ejabberd and erlang-p1-pgsql. */
const ERLANG = "/usr/bin/erl";
const SCHEMA = "/usr/share/ejabberd/sql/pg.sql";
const PROGRAM = "/usr/lib/*/ejabberd-*/ebin/ejabberd.app";
const DRIVER = "/usr/lib/{erlang/lib,*}/p1_pgsql-*/ebin/p1_pgsql.app";

/** An installed ejabberd. */
export interface Ejabberd {
  readonly version: string;
  /** The folder with its Erlang libraries. */
  readonly libraries: string;
}

/** Finds ejabberd and its driver for PostgreSQL; undefined when one of them is not installed. */
export function findEjabberd(): Ejabberd | undefined {
  const home = globSync(PROGRAM).map((file) => dirname(dirname(file)))[0];
  const complete = [ERLANG, SCHEMA].every(existsSync) && globSync(DRIVER).length > 0;
  if (home === undefined || !complete) return undefined;
  return { version: home.replace(/^.*ejabberd-/, ""), libraries: dirname(home) };
}

export interface EjabberdOptions {
  readonly url: string;
  readonly pool: pg.Pool;
  /** Number of accounts to create. Their names and passwords are "1", "2" … */
  readonly users: number;
}

/**
 * Runs ejabberd on a free port, with accounts and message archive in the database, and all other files in a
 * temporary folder that is deleted at the end. The node has no name: it has no port mapper and no cookie, and
 * connects to no other node. It runs the modules that the comparison needs, without shapers. All other
 * settings have ejabberd's defaults, such as ten connections to the database.
 */
export async function startEjabberd(
  { libraries }: Ejabberd,
  { url, pool, users }: EjabberdOptions,
): Promise<Rival> {
  await pool.query(await readFile(SCHEMA, "utf8"));
  await pool.query(
    `INSERT INTO users (username, password)
     SELECT n::text, n::text FROM generate_series(1, $1::int) AS n`,
    [users],
  );
  const [port] = (await freePorts(1)) as [number];
  const folder = await mkdtemp(join(tmpdir(), "lucky-ejabberd-"));
  const config = join(folder, "ejabberd.yml");
  const log = join(folder, "ejabberd.log");
  // YAML includes JSON.
  await writeFile(config, JSON.stringify(configOf(port, new URL(url))), { mode: 0o600 });
  const child = spawn(
    ERLANG,
    // The options of ejabberdctl: kernel poll, many processes.
    ["-noinput", "+K", "true", "+P", "250000", "-mnesia", "dir", `"${folder}"`, "-s", "ejabberd"],
    {
      cwd: folder,
      stdio: "ignore",
      env: {
        PATH: process.env.PATH,
        HOME: folder,
        ERL_LIBS: libraries,
        ERL_MAX_PORTS: "32000",
        ERL_CRASH_DUMP_BYTES: "0",
        EJABBERD_CONFIG_PATH: config,
        EJABBERD_LOG_PATH: log,
      },
    },
  );
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  // Stops ejabberd and deletes its folder when the bench exits without calling close.
  const killNow = () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", killNow);
  const close = async () => {
    child.kill("SIGKILL");
    await ended;
    process.off("exit", killNow);
    await rm(folder, { recursive: true, force: true });
  };
  const address = `http://127.0.0.1:${port}`;
  try {
    await waitUntilReady(child, `${address}/ws`);
  } catch (cause) {
    const lines = await readFile(log, "utf8").catch(() => "there is no log");
    await close();
    const last = lines.trim().split("\n").slice(-LOG_LINES).join("\n");
    throw new Error(`ejabberd did not start:\n${last}`, { cause });
  }
  return { url: address, pid: child.pid ?? 0, close };
}

function configOf(port: number, database: URL) {
  return {
    hosts: [DOMAIN],
    loglevel: "warning",
    acme: { auto: false },
    auth_method: ["sql"],
    auth_password_format: "plain",
    sql_type: "pgsql",
    sql_server: database.hostname,
    sql_port: Number(database.port),
    sql_database: database.pathname.slice(1),
    sql_username: database.username,
    sql_password: database.password,
    listen: [
      {
        port,
        ip: "127.0.0.1",
        backlog: 1024,
        module: "ejabberd_http",
        request_handlers: { "/ws": "ejabberd_http_ws" },
      },
    ],
    modules: {
      mod_mam: { db_type: "sql", default: "always" },
      // Devices acknowledge only when all sessions are open, which may take minutes for thousands.
      mod_stream_mgmt: { ack_timeout: "10 minutes" },
    },
  };
}

/** Polls until ejabberd answers. Throws when it exits first, and after a time-out. */
async function waitUntilReady(child: ChildProcess, address: string): Promise<void> {
  const untilMs = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < untilMs) {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
      throw new Error("the process ended");
    }
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const answer = await fetch(address, { method: "HEAD", signal }).catch(() => undefined);
    if (answer?.ok) return;
    await pause(POLL_MS);
  }
  throw new Error(`no answer in ${READY_TIMEOUT_MS / 1_000} s`);
}
