import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs, parseEnv } from "node:util";
import { runProcess } from "#platform/process/process.ts";
import { type Started, startAllOrNothing } from "#platform/process/started.ts";
import {
  type Backend,
  type RestartablePostgres,
  startPostgres,
  startRabbit,
  startRedis,
} from "../test/backends/backends.ts";
import { type Child, startChild } from "./child.ts";
import { freePorts, isFree } from "./ports.ts";

export interface MeshOptions {
  /** Whether it starts PostgreSQL, Redis and RabbitMQ of its own, gone when it stops. */
  readonly own: boolean;
  /** Free ports instead of the usual ones. */
  readonly free: boolean;
  /** How many instances of connect and server; three and two when absent. */
  readonly instances?: { readonly connect: number; readonly server: number };
  /** LUCKY_… settings for its processes, and where the backends are unless it has its own. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For the Node of each process, such as a module to load first. */
  readonly nodeArguments?: readonly string[];
  /** Takes what the processes say, a line at a time. */
  readonly print: (line: string) => void;
}

/** Servers that a mesh started for itself. */
export interface OwnBackends {
  readonly postgres: RestartablePostgres;
  readonly redis: Backend;
  readonly rabbit: Backend;
}

/** All services, each as a process of its own. */
export interface Mesh {
  /** "http://127.0.0.1:port" */
  readonly gatewayUrl: string;
  readonly postgresUrl: string;
  /** Where each connect listens for WebSockets: "http://127.0.0.1:port". */
  readonly connectUrls: readonly string[];
  /** Where each process answers the operator: "http://127.0.0.1:port". */
  readonly opsUrls: readonly string[];
  /** auth-0, server-0 …, connect-0 …, gateway-0 */
  readonly processes: readonly Child[];
  /** Undefined when they are not its own. */
  readonly backends: OwnBackends | undefined;
  /** Ends the processes, bounded, then its own backends. Idempotent. */
  stop(): Promise<void>;
}

interface Plan {
  readonly service: string;
  readonly name: string;
  /** Where it listens when ports are not free ones. */
  readonly port: number;
  readonly opsPort: number;
}

function plansFor(instances: { readonly connect: number; readonly server: number }): Plan[] {
  const plan = (service: string, port: number, opsPort: number, count = 1): Plan[] =>
    Array.from({ length: count }, (_, at) => ({
      service,
      name: `${service}-${at}`,
      port: port + at,
      opsPort: opsPort + at,
    }));
  return [
    ...plan("auth", 8084, 9184),
    ...plan("server", 8085, 9185, instances.server),
    ...plan("connect", 19000, 9200, instances.connect),
    ...plan("gateway", 9191, 9291),
  ];
}

/** From the outside in: nobody is stopped while somebody needs it. */
const STOP_ORDER = ["gateway", "connect", "server", "auth"];
const STOP_WITHIN_MS = 20_000;
const root = join(import.meta.dirname, "..");
const backendsFile = join(root, "data/backends/env");
const secretsFile = join(root, "data/mesh/env");
const BACKEND_NAMES = ["LUCKY_POSTGRES_URL", "LUCKY_REDIS_URL", "LUCKY_RABBITMQ_URL"];

/** Starts the mesh and waits until every process is ready. Rejects with nothing left running. */
export function startMesh(options: MeshOptions): Promise<Mesh> {
  return startAllOrNothing(async (started) => {
    const backends = options.own ? await startBackends(started) : undefined;
    const settings = {
      ...(options.own ? madeSecrets() : await keptSecrets()),
      ...(backends ? {} : backendsFrom(options.env)),
      ...luckyOnly(options.env),
      ...(backends && {
        LUCKY_POSTGRES_URL: backends.postgres.url,
        LUCKY_REDIS_URL: backends.redis.url,
        LUCKY_RABBITMQ_URL: backends.rabbit.url,
      }),
    };
    const plans = plansFor(options.instances ?? { connect: 3, server: 2 });
    const placed = options.free ? await onFreePorts(plans) : await onUsualPorts(plans);
    const processes = placed.map((plan) => {
      const child = start(plan, settings, options);
      return { ...plan, child };
    });
    // A parent that ends without stopping them leaves nothing behind.
    const abandon = () => {
      for (const { child } of processes) void child.kill("SIGKILL");
    };
    process.once("exit", abandon);
    started.push(async () => {
      process.off("exit", abandon);
      for (const service of STOP_ORDER) {
        const group = processes.filter((p) => p.service === service);
        await Promise.all(group.map(({ child }) => child.stop(STOP_WITHIN_MS)));
      }
    });
    await Promise.all(processes.map(({ child }) => child.ready()));
    const urlsOf = (service: string) =>
      placed.filter((p) => p.service === service).map(({ port }) => `http://127.0.0.1:${port}`);
    return {
      gatewayUrl: urlsOf("gateway")[0]!,
      connectUrls: urlsOf("connect"),
      opsUrls: placed.map(({ opsPort }) => `http://127.0.0.1:${opsPort}`),
      postgresUrl: settings.LUCKY_POSTGRES_URL ?? "",
      processes: processes.map(({ child }) => child),
      backends,
      stop: () => started.stop(),
    };
  });
}

async function startBackends(started: Started): Promise<OwnBackends> {
  const begin = async <B extends { close(): Promise<void> }>(starting: Promise<B>) => {
    const backend = await starting;
    started.push(() => backend.close());
    return backend;
  };
  const all = [begin(startPostgres()), begin(startRedis()), begin(startRabbit())] as const;
  // All have settled before one that failed unwinds the others.
  await Promise.allSettled(all);
  const [postgres, redis, rabbit] = await Promise.all(all);
  return { postgres, redis, rabbit };
}

function start(
  { service, name, port, opsPort }: Plan,
  settings: Record<string, string | undefined>,
  { nodeArguments, print }: Pick<MeshOptions, "nodeArguments" | "print">,
): Child {
  return startChild({
    name,
    script: `services/${service}/main.ts`,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      // For profiles.
      NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS,
      ...settings,
      LUCKY_INSTANCE_ID: name,
      [`LUCKY_${service.toUpperCase()}_PORT`]: String(port),
      LUCKY_OPS_PORT: String(opsPort),
    },
    nodeArguments,
    readyUrl: `http://127.0.0.1:${opsPort}/readyz`,
    print,
  });
}

async function onFreePorts(plans: readonly Plan[]): Promise<Plan[]> {
  const ports = await freePorts(plans.length * 2);
  return plans.map((plan, at) => ({ ...plan, port: ports[at * 2]!, opsPort: ports[at * 2 + 1]! }));
}

/** Whoever has a port already, such as another mesh, would be taken for the process to be started. */
async function onUsualPorts(plans: readonly Plan[]): Promise<readonly Plan[]> {
  for (const { name, port, opsPort } of plans) {
    for (const one of [port, opsPort]) {
      if (await isFree(one)) continue;
      throw new Error(
        `Port ${one}, for ${name}, is taken, perhaps by another mesh. Stop that one, or use free ` +
          "ports: npm run mesh -- --ports free",
      );
    }
  }
  return plans;
}

function luckyOnly(env: MeshOptions["env"]): Record<string, string | undefined> {
  const names = Object.keys(env).filter((name) => name.startsWith("LUCKY_"));
  return Object.fromEntries(names.map((name) => [name, env[name]]));
}

/** Where PostgreSQL, Redis and RabbitMQ are: the environment says, or else `npm run backends`. */
function backendsFrom(env: MeshOptions["env"]): Record<string, string | undefined> {
  const written = existsSync(backendsFile) ? parseEnv(readFileSync(backendsFile, "utf8")) : {};
  const found = Object.fromEntries(BACKEND_NAMES.map((name) => [name, env[name] || written[name]]));
  const missing = BACKEND_NAMES.filter((name) => !found[name]);
  if (missing.length > 0) {
    throw new Error(
      `${missing.join(", ")} not set. Run "npm run backends" first, or "npm run mesh -- --own".`,
    );
  }
  return found;
}

function madeSecrets(): Record<string, string> {
  return {
    LUCKY_MESH_SECRET: randomBytes(32).toString("base64url"),
    LUCKY_AUTH_KEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
  };
}

/** Secrets that outlive a stop: the keys in the database are encrypted under one of them. */
async function keptSecrets(): Promise<Record<string, string | undefined>> {
  if (existsSync(secretsFile)) return parseEnv(readFileSync(secretsFile, "utf8"));
  const made = madeSecrets();
  const lines = Object.entries(made).map(([name, value]) => `${name}=${value}\n`);
  await mkdir(dirname(secretsFile), { recursive: true });
  await writeFile(secretsFile, lines.join(""), { mode: 0o600, flag: "wx" });
  return made;
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  runProcess(async () => {
    const { values } = parseArgs({
      options: { own: { type: "boolean", default: false }, ports: { type: "string" } },
    });
    const mesh = await startMesh({
      own: values.own,
      free: values.ports === "free" || (values.own && values.ports === undefined),
      env: process.env,
      print: (line) => console.log(line),
    });
    const list = mesh.processes.map(({ name, pid }) => `${name} (${pid})`).join(", ");
    console.log(`\n  The mesh is ready: ${mesh.gatewayUrl}\n  ${list}\n  Stop with Ctrl-C.\n`);
    return mesh;
  });
}
