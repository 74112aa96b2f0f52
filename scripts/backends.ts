/**
 * The servers that the mesh stands on, for a machine of one's own: installs what is missing (Debian),
 * starts Redis, RabbitMQ and PostgreSQL on 127.0.0.1 with their data under data/backends, and writes
 * their addresses to data/backends/env. May be repeated; `stop` stops them, their data stays.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, openSync, readFileSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { freePorts } from "./ports.ts";
import { isRunning, type ProcessRecord, recordProcess, terminate } from "./process-record.ts";
import { type Launched, launchRabbit, launchRedis, missingPrograms, runs } from "./servers.ts";

const root = join(import.meta.dirname, "..");
const folder = resolve(root, process.env.BACKENDS_DIR ?? "data/backends");
const envFile = join(folder, "env");
const STOP_WITHIN_MS = 20_000;
const POSTGRES_WITHIN_MS = 60_000;

interface Server {
  readonly name: "redis" | "rabbitmq" | "postgres";
  /** Under which name the services read the address. */
  readonly variable: string;
  readonly portVariable: string;
  readonly usualPort: number;
  launch(dir: string, port: number): Promise<Launched>;
}

const servers: readonly Server[] = [
  {
    name: "redis",
    variable: "LUCKY_REDIS_URL",
    portVariable: "BACKENDS_REDIS_PORT",
    usualPort: 6379,
    launch: (dir, port) => launchRedis({ dir, port, detached: true }),
  },
  {
    name: "rabbitmq",
    variable: "LUCKY_RABBITMQ_URL",
    portVariable: "BACKENDS_RABBITMQ_PORT",
    usualPort: 5672,
    async launch(dir, port) {
      const [mapperPort, erlangPort] = (await freePorts(2)) as [number, number];
      return launchRabbit({ dir, port, mapperPort, erlangPort, detached: true });
    },
  },
  {
    name: "postgres",
    variable: "LUCKY_POSTGRES_URL",
    portVariable: "BACKENDS_POSTGRES_PORT",
    usualPort: 5432,
    launch: launchPostgres,
  },
];

/** What is remembered of a running server, in `<folder>/<name>.json`. */
interface Kept {
  readonly url: string;
  readonly port: number;
  readonly processes: readonly ProcessRecord[];
}

async function start(): Promise<void> {
  install();
  await mkdir(folder, { recursive: true });
  const lines: string[] = [];
  for (const server of servers) {
    const before = await keptOf(server);
    const kept = before ?? (await launch(server));
    const hidden = kept.url.replace(/:[^:@/]+@/, ":***@");
    console.log(`${server.name.padEnd(8)} ${hidden}  ${before ? "runs already" : "started"}`);
    lines.push(`${server.variable}=${kept.url}\n`);
  }
  await writeFile(envFile, lines.join(""), { mode: 0o600 });
  console.log(`\nAddresses with passwords: ${envFile}\nStop: npm run backends -- stop`);
}

async function stop(): Promise<void> {
  for (const server of servers.toReversed()) {
    const kept = await keptOf(server);
    for (const one of kept?.processes ?? []) await terminate(one, STOP_WITHIN_MS);
    await rm(recordOf(server), { force: true });
    console.log(`${server.name.padEnd(8)} ${kept ? "stopped" : "did not run"}`);
  }
  await rm(envFile, { force: true });
}

const recordOf = ({ name }: Server) => join(folder, `${name}.json`);

/** What runs of a server; undefined when it has ended. Remainders of one that ended are ended too. */
async function keptOf(server: Server): Promise<Kept | undefined> {
  const record = recordOf(server);
  if (!existsSync(record)) return undefined;
  const kept = JSON.parse(await readFile(record, "utf8")) as Kept;
  if (kept.processes.every(isRunning)) return kept;
  for (const one of kept.processes) await terminate(one, STOP_WITHIN_MS);
  await rm(record);
  return undefined;
}

async function launch(server: Server): Promise<Kept> {
  const { name, portVariable, usualPort } = server;
  const port = Number(process.env[portVariable] || usualPort);
  if (!(await isFree(port)))
    throw new Error(
      `Port ${port} is taken by something else. Stop that, or let ${name} listen elsewhere: ` +
        `${portVariable}=${port + 10_000} npm run backends`,
    );
  const { url, processes } = await server.launch(join(folder, name), port);
  const kept = { url, port, processes: processes.map(({ pid }) => recordProcess(pid)) };
  await writeFile(recordOf(server), JSON.stringify(kept), { mode: 0o600 });
  return kept;
}

/** Starts the PostgreSQL that came with the packages, kept by a process of its own. */
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
  const until = Date.now() + POSTGRES_WITHIN_MS;
  while (!existsSync(urlFile)) {
    if (!runs(keeper) || Date.now() > until) {
      keeper.kill("SIGTERM");
      throw new Error(`PostgreSQL did not start:\n${readFileSync(outFile, "utf8").trim()}`);
    }
    await pause(50);
  }
  return { url: readFileSync(urlFile, "utf8"), processes: [keeper] };
}

/** Installs the servers where apt can; the packages must not start their own at once. */
function install(): void {
  const missing = missingPrograms();
  if (missing.length === 0) return;
  if (!existsSync("/usr/bin/apt-get"))
    throw new Error(
      `Not installed: ${missing.join(", ")}. Install Redis and RabbitMQ with the machine's package ` +
        "manager (brew install redis rabbitmq), or use compose.yaml.",
    );
  console.log(`Installing ${missing.join(", ")} …`);
  const script = `set -e
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
      trap "rm -f $policy" EXIT
      printf '#!/bin/sh\\nexit 101\\n' > $policy
      chmod +x $policy
    fi
    apt-get -q update
    apt-get -q install -y --no-install-recommends ${missing.join(" ")}`;
  const command = process.getuid?.() === 0 ? ["sh", "-c", script] : ["sudo", "sh", "-c", script];
  execFileSync(command[0]!, command.slice(1), { stdio: "inherit" });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ host: "127.0.0.1", port, exclusive: true }, () =>
      probe.close(() => resolve(true)),
    );
  });
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
