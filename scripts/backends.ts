/**
 * Runs the backends of the mesh on a developer's machine: installs missing programs (Debian),
 * starts Redis, RabbitMQ and PostgreSQL on 127.0.0.1 with their data under data/backends, and
 * writes their addresses to data/backends/env. Idempotent. `stop` stops them; their data stays.
 */
import { spawn } from "node:child_process";
import { existsSync, openSync, readFileSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { freePorts, isFree } from "./ports.ts";
import { isRunning, type ProcessRecord, recordProcess, terminate } from "./process-record.ts";
import {
  installPackages,
  type Launched,
  launchRabbit,
  launchRedis,
  missingPrograms,
  runs,
} from "./servers.ts";

const root = join(import.meta.dirname, "..");
const folder = resolve(root, process.env.BACKENDS_DIR ?? "data/backends");
const envFile = join(folder, "env");
const STOP_TIMEOUT_MS = 20_000;
const POSTGRES_TIMEOUT_MS = 60_000;
const POLL_INTERVAL_MS = 50;
const ADVICE =
  "Install Redis and RabbitMQ, and for the tests PgBouncer, nginx, Prometheus and Alertmanager, with " +
  "the machine's package manager (brew install redis rabbitmq pgbouncer nginx prometheus " +
  "alertmanager), or use compose.yaml.";

interface Server {
  readonly name: "redis" | "rabbitmq" | "postgres";
  /** Name of the setting with the address. */
  readonly variable: string;
  readonly portVariable: string;
  readonly defaultPort: number;
  launch(dir: string, port: number): Promise<Launched>;
}

const servers: readonly Server[] = [
  {
    name: "redis",
    variable: "LUCKY_REDIS_URL",
    portVariable: "BACKENDS_REDIS_PORT",
    defaultPort: 6379,
    launch: (dir, port) => launchRedis({ dir, port, detached: true }),
  },
  {
    name: "rabbitmq",
    variable: "LUCKY_RABBITMQ_URL",
    portVariable: "BACKENDS_RABBITMQ_PORT",
    defaultPort: 5672,
    async launch(dir, port) {
      const [mapperPort, erlangPort] = (await freePorts(2)) as [number, number];
      return launchRabbit({ dir, port, mapperPort, erlangPort, detached: true });
    },
  },
  {
    name: "postgres",
    variable: "LUCKY_POSTGRES_URL",
    portVariable: "BACKENDS_POSTGRES_PORT",
    defaultPort: 5432,
    launch: launchPostgres,
  },
];

/** The record of a running server, in the file `<folder>/<name>.json`. */
interface ServerRecord {
  readonly url: string;
  readonly port: number;
  readonly processes: readonly ProcessRecord[];
}

async function start(): Promise<void> {
  installPackages(missingPrograms(), ADVICE);
  await mkdir(folder, { recursive: true });
  const lines: string[] = [];
  for (const server of servers) {
    const existing = await runningRecordOf(server);
    const record = existing ?? (await launch(server));
    const hidden = record.url.replace(/:[^:@/]+@/, ":***@");
    console.log(`${server.name.padEnd(8)} ${hidden}  ${existing ? "already running" : "started"}`);
    lines.push(`${server.variable}=${record.url}\n`);
  }
  await writeFile(envFile, lines.join(""), { mode: 0o600 });
  console.log(`\nAddresses with passwords: ${envFile}\nStop: npm run backends -- stop`);
}

async function stop(): Promise<void> {
  for (const server of servers.toReversed()) {
    const record = await runningRecordOf(server);
    for (const one of record?.processes ?? []) await terminate(one, STOP_TIMEOUT_MS);
    await rm(recordFileOf(server), { force: true });
    console.log(`${server.name.padEnd(8)} ${record ? "stopped" : "was not running"}`);
  }
  await rm(envFile, { force: true });
}

const recordFileOf = ({ name }: Server) => join(folder, `${name}.json`);

/**
 * The record of a server that runs; undefined when it does not. Cleans up after a server that ended
 * without `stop`: terminates its other processes and deletes its record.
 */
async function runningRecordOf(server: Server): Promise<ServerRecord | undefined> {
  const file = recordFileOf(server);
  if (!existsSync(file)) return undefined;
  const record = JSON.parse(await readFile(file, "utf8")) as ServerRecord;
  if (record.processes.every(isRunning)) return record;
  for (const one of record.processes) await terminate(one, STOP_TIMEOUT_MS);
  await rm(file);
  return undefined;
}

async function launch(server: Server): Promise<ServerRecord> {
  const { name, portVariable, defaultPort } = server;
  const port = Number(process.env[portVariable] || defaultPort);
  if (!(await isFree(port)))
    throw new Error(
      `Port ${port} is taken by another process. Stop that one, or choose another port for ${name}: ` +
        `${portVariable}=${port + 10_000} npm run backends`,
    );
  const { url, processes } = await server.launch(join(folder, name), port);
  const record = { url, port, processes: processes.map(({ pid }) => recordProcess(pid)) };
  await writeFile(recordFileOf(server), JSON.stringify(record), { mode: 0o600 });
  return record;
}

/** Starts the PostgreSQL of the npm package, in a separate process that outlives this one. */
async function launchPostgres(dir: string, port: number): Promise<Launched> {
  await mkdir(dir, { recursive: true });
  const [urlFile, outFile] = [join(dir, "url"), join(dir, "postgres.out")];
  await rm(urlFile, { force: true });
  const out = openSync(outFile, "w");
  const script = join(import.meta.dirname, "backends-postgres.ts");
  const keeper = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", script, dir, String(port)],
    { cwd: root, detached: true, stdio: ["ignore", out, out] },
  );
  keeper.unref();
  const until = Date.now() + POSTGRES_TIMEOUT_MS;
  while (!existsSync(urlFile)) {
    if (!runs(keeper) || Date.now() > until) {
      keeper.kill("SIGTERM");
      throw new Error(`PostgreSQL did not start:\n${readFileSync(outFile, "utf8").trim()}`);
    }
    await pause(POLL_INTERVAL_MS);
  }
  return { url: readFileSync(urlFile, "utf8"), processes: [keeper] };
}

const commands: Record<string, () => Promise<void>> = { start, stop };
const command = commands[process.argv[2] ?? "start"];
if (!command) {
  console.error("Usage: npm run backends [-- start|stop]");
  process.exitCode = 2;
} else {
  await command().catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
