import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs, parseEnv } from "node:util";
import { environmentName } from "#platform/config/config.ts";
import { secretFileName } from "#platform/config/environment.ts";
import { secretsOf } from "#platform/config/secrets.ts";
import { runProcess } from "#platform/process/process.ts";
import { type Started, startAllOrNothing } from "#platform/process/started.ts";
import type { ServiceName } from "#platform/service-name.ts";
import {
  type Backend,
  type RestartablePostgres,
  startPostgres,
  startRabbit,
  startRedis,
} from "../test/backends/backends.ts";
import { type Child, startChild } from "./child.ts";
import {
  createDatabasePasswords,
  createDatabases,
  namesDatabase,
  prepareDatabase,
  settingsFor,
} from "./mesh-database.ts";
import { freePorts, isFree } from "./ports.ts";

export interface MeshOptions {
  /** Whether the mesh starts its own temporary PostgreSQL, Redis and RabbitMQ servers. */
  readonly own: boolean;
  /** Whether to use free ports instead of the default ones. */
  readonly free: boolean;
  /** Numbers of instances of connect and server; three and two when absent. */
  readonly instances?: { readonly connect: number; readonly server: number };
  /** Number of databases of the log in its own PostgreSQL; the home database is one of them. */
  readonly logs?: number;
  /** LUCKY_… settings of the processes, including the URLs of the backends unless `own`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Arguments for the Node of each process, such as a module to load first. */
  readonly nodeArguments?: readonly string[];
  /** Folder with the sources of the processes, and of the migrations; this repository when absent. */
  readonly root?: string;
  /** Maximum open files of each process; the limit of this process when absent. */
  readonly openFiles?: number;
  /** Called with each line that a process prints. */
  readonly print: (line: string) => void;
}

/** The servers that a mesh started itself. */
export interface OwnBackends {
  readonly postgres: RestartablePostgres;
  readonly redis: Backend;
  readonly rabbit: Backend;
}

/** All services, each in its own process. */
export interface Mesh {
  /** "http://127.0.0.1:port", or "https://127.0.0.1:port" when the settings name a certificate */
  readonly gatewayUrl: string;
  /** URL of PostgreSQL for the owner of the tables; the services log in as other users. */
  readonly postgresUrl: string;
  /** URLs of the databases of the log, for the owner of the tables; the first is `postgresUrl`. */
  readonly logUrls: readonly string[];
  /** Address of the WebSockets of each connect: "http://127.0.0.1:port". */
  readonly connectUrls: readonly string[];
  /** Address of metrics and health checks of each process: "http://127.0.0.1:port". */
  readonly opsUrls: readonly string[];
  /** auth-0, server-0 …, connect-0 …, gateway-0 */
  readonly processes: readonly Child[];
  /** The servers that the mesh started itself; undefined unless `own`. */
  readonly backends: OwnBackends | undefined;
  /** Stops the processes, bounded in time, then its own backends. Idempotent. */
  stop(): Promise<void>;
}

interface Plan {
  readonly service: ServiceName;
  readonly name: string;
  /** Default port of the service. */
  readonly port: number;
  readonly opsPort: number;
}

function plansFor(instances: { readonly connect: number; readonly server: number }): Plan[] {
  const plan = (service: ServiceName, port: number, opsPort: number, count = 1): Plan[] =>
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

/**
 * Order of stopping, from the outside in: a service stops after the services that call it. Only the
 * gateway stops after connect, whose sessions end in its tunnels.
 */
const STOP_ORDER = ["connect", "gateway", "server", "auth"];
const STOP_TIMEOUT_MS = 20_000;
const root = join(import.meta.dirname, "..");
const backendsFile = join(root, "data/backends/env");
const secretsFile = join(root, "data/mesh/env");
const BACKEND_NAMES = ["LUCKY_POSTGRES_URL", "LUCKY_REDIS_URL", "LUCKY_RABBITMQ_URL"];

/** Starts the mesh and waits until every process is ready. Rejects with nothing left running. */
export function startMesh(options: MeshOptions): Promise<Mesh> {
  return startAllOrNothing(async (started) => {
    const backends = options.own ? await startBackends(started) : undefined;
    const secrets = options.own ? createSecrets() : await storedSecrets();
    const given: Record<string, string | undefined> = {
      ...luckyOnly(secrets),
      ...(backends ? {} : backendsFrom(options.env)),
      ...luckyOnly(options.env),
      ...(backends && {
        LUCKY_POSTGRES_URL: backends.postgres.url,
        LUCKY_REDIS_URL: backends.redis.url,
        LUCKY_RABBITMQ_URL: backends.rabbit.url,
      }),
    };
    const postgresUrl = given.LUCKY_POSTGRES_URL ?? "";
    const ownUsers = backends !== undefined || !namesDatabase(options.env);
    const others = await createDatabases(postgresUrl, (backends && (options.logs ?? 1) - 1) ?? 0);
    const logUrls = [postgresUrl, ...others];
    const urls = ownUsers
      ? await prepareDatabase(postgresUrl, secrets, {
          ownerLogUrls: others.length > 0 ? logUrls : [],
          root: options.root,
        })
      : {};
    const settings = { ...given, ...urls };
    const plans = plansFor(options.instances ?? { connect: 3, server: 2 });
    const plansWithPorts = options.free ? await onFreePorts(plans) : await onDefaultPorts(plans);
    const processes = plansWithPorts.map((plan) => {
      const child = start(plan, settingsFor(plan.service, settings), options);
      return { ...plan, child };
    });
    // When the parent exits without `stop`, no child process outlives it.
    const killAll = () => {
      for (const { child } of processes) void child.kill("SIGKILL");
    };
    process.once("exit", killAll);
    started.push(async () => {
      process.off("exit", killAll);
      for (const service of STOP_ORDER) {
        const group = processes.filter((p) => p.service === service);
        await Promise.all(group.map(({ child }) => child.stop(STOP_TIMEOUT_MS)));
      }
    });
    await Promise.all(processes.map(({ child }) => child.ready()));
    const urlsOf = (service: string) =>
      plansWithPorts
        .filter((p) => p.service === service)
        .map(({ port }) => `http://127.0.0.1:${port}`);
    const [gatewayUrl = ""] = urlsOf("gateway");
    return {
      gatewayUrl: given.LUCKY_GATEWAY_TLS_CERT_FILE
        ? gatewayUrl.replace("http:", "https:")
        : gatewayUrl,
      connectUrls: urlsOf("connect"),
      opsUrls: plansWithPorts.map(({ opsPort }) => `http://127.0.0.1:${opsPort}`),
      postgresUrl,
      logUrls,
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
  // Wait for all starts even if one fails: `started` must contain all started servers, because it
  // stops them.
  await Promise.allSettled(all);
  const [postgres, redis, rabbit] = await Promise.all(all);
  return { postgres, redis, rabbit };
}

function start(
  { service, name, port, opsPort }: Plan,
  settings: Record<string, string | undefined>,
  {
    nodeArguments,
    root: sources,
    openFiles,
    print,
  }: Pick<MeshOptions, "nodeArguments" | "root" | "openFiles" | "print">,
): Child {
  return startChild({
    name,
    script: `services/${service}/main.ts`,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      // Used by npm run profile.
      NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS,
      ...withoutForeignSecrets(service, settings),
      LUCKY_INSTANCE_ID: name,
      [`LUCKY_${service.toUpperCase()}_PORT`]: String(port),
      LUCKY_OPS_PORT: String(opsPort),
    },
    nodeArguments,
    root: sources,
    openFiles,
    readyUrl: `http://127.0.0.1:${opsPort}/readyz`,
    print,
  });
}

/** Settings of the secrets of all services. auth needs all of them, because all others call it. */
const SECRETS = secretsOf("auth").map((key) => environmentName("", key));

/** Settings without the secrets that a service does not need: it refuses to start with them. */
function withoutForeignSecrets(
  service: ServiceName,
  settings: Record<string, string | undefined>,
): Record<string, string | undefined> {
  const needed = secretsOf(service).map((key) => environmentName("", key));
  const foreign = SECRETS.filter((name) => !needed.includes(name)).flatMap((name) => [
    name,
    secretFileName(name),
  ]);
  return Object.fromEntries(Object.entries(settings).filter(([name]) => !foreign.includes(name)));
}

async function onFreePorts(plans: readonly Plan[]): Promise<Plan[]> {
  const ports = await freePorts(plans.length * 2);
  return plans.map((plan, at) => ({ ...plan, port: ports[at * 2]!, opsPort: ports[at * 2 + 1]! }));
}

/**
 * Throws when a default port is taken: the readiness probe would reach that other process, such as
 * one of another mesh, instead of the started one.
 */
async function onDefaultPorts(plans: readonly Plan[]): Promise<readonly Plan[]> {
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

/**
 * URLs of PostgreSQL, Redis and RabbitMQ: from the environment, or else from `npm run backends`.
 */
function backendsFrom(env: MeshOptions["env"]): Record<string, string | undefined> {
  const stored = existsSync(backendsFile) ? parseEnv(readFileSync(backendsFile, "utf8")) : {};
  const found = Object.fromEntries(BACKEND_NAMES.map((name) => [name, env[name] || stored[name]]));
  const missing = BACKEND_NAMES.filter((name) => !found[name]);
  if (missing.length > 0) {
    throw new Error(
      `${missing.join(", ")}: not set. Run "npm run backends" first, or "npm run mesh -- --own".`,
    );
  }
  return found;
}

function createSecrets(): Record<string, string> {
  const secrets = SECRETS.map((name) => [name, randomBytes(32).toString("base64url")]);
  return {
    ...Object.fromEntries(secrets),
    LUCKY_AUTH_KEY_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
    ...createDatabasePasswords(),
  };
}

/**
 * Secrets that stay the same after a restart: the keys in the database are encrypted under one of
 * them. A file of an older version gets the secrets that it lacks.
 */
async function storedSecrets(): Promise<Record<string, string | undefined>> {
  const stored = existsSync(secretsFile) ? parseEnv(readFileSync(secretsFile, "utf8")) : {};
  const secrets = Object.fromEntries(
    Object.entries(createSecrets()).map(([name, created]) => [name, stored[name] || created]),
  );
  const lines = Object.entries(secrets).map(([name, value]) => `${name}=${value}\n`);
  await mkdir(dirname(secretsFile), { recursive: true });
  await writeFile(secretsFile, lines.join(""), { mode: 0o600 });
  return secrets;
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
