import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog } from "#platform/log.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { startAllOrNothing } from "#platform/process/started.ts";
import { startChild } from "../../scripts/child.ts";
import { startMesh } from "../../scripts/mesh.ts";
import { createDatabases } from "../../scripts/mesh-database.ts";
import { freePorts } from "../../scripts/ports.ts";
import type { FlagsOf, FlagTable } from "../command/flags.ts";

/** All services in one process, or each in its own with Redis, RabbitMQ and PostgreSQL. */
export type Mode = "embedded" | "mesh";

/** How to start Lucky. */
export interface Shape {
  readonly mode: Mode;
  /** Instances in a mesh. */
  readonly connects: number;
  readonly servers: number;
  /** Databases of the log, all in one PostgreSQL; one when absent. */
  readonly logs?: number;
  /** shared_buffers of PostgreSQL in embedded mode; the default of Lucky's PostgreSQL when absent. */
  readonly sharedBuffers?: string;
  /** Settings that differ from the defaults; `benchSettings` when absent. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Maximum open files of each process; the limit of this process when absent. */
  readonly openFiles?: number;
}

/** A running Lucky that is measured. */
export interface System extends Shape {
  /** Address of the gateway. */
  readonly url: string;
  /** Address of each connect instance. */
  readonly connectUrls: readonly string[];
  /** Address of the metrics of each process. */
  readonly opsUrls: readonly string[];
  readonly postgresUrl: string;
  /** The databases of the log; `postgresUrl` is the first. */
  readonly logUrls: readonly string[];
  /** Addresses of RabbitMQ and Redis; undefined in one process. */
  readonly rabbitUrl?: string;
  readonly redisUrl?: string;
  /** The key-encryption key of auth. The bench needs it to sign tokens itself. */
  readonly keyEncryptionKey: string;
  /** Names of its processes, by process id; instances of a service share a name. */
  readonly processes: ReadonlyMap<number, string>;
  stop(): Promise<void>;
}

/**
 * Settings that differ from the defaults: no limits for a single user, and password hashing that registers
 * some hundred users within seconds. They do not change how a message is processed.
 */
export const benchSettings: Readonly<Record<string, string>> = {
  LUCKY_LOG_LEVEL: "warn",
  LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
  LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
  LUCKY_AUTH_HASH_ITERATIONS: "1",
  LUCKY_AUTH_MAX_HASHING: "10000",
  LUCKY_AUTH_ACCESS_TOKEN_SECONDS: "86400",
  LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: "1000000",
  LUCKY_LIMITS_CONNECTIONS_PER_ADDRESS: "1000000",
  LUCKY_LIMITS_READ_PER_SECOND: "1000000",
  LUCKY_CONNECT_FRAMES_PER_SECOND: "1000000",
  LUCKY_CONNECT_FRAMES_BURST: "1000000",
  LUCKY_LIMITS_WRITE_PER_SECOND: "1000000",
  LUCKY_CONNECT_DRAIN_MS: "100",
  LUCKY_CONNECT_MOVE_SPREAD_MS: "0",
  LUCKY_GATEWAY_DRAIN_MS: "100",
};

/** Starts Lucky in separate processes, on free ports. Its data is deleted when it stops. */
export function startSystem(shape: Shape): Promise<System> {
  const secrets = {
    keyEncryptionKey: randomBytes(32).toString("base64"),
  };
  return shape.mode === "mesh" ? startInMesh(shape, secrets) : startInOne(shape, secrets);
}

type Secrets = Pick<System, "keyEncryptionKey">;

async function startInMesh(shape: Shape, secrets: Secrets): Promise<System> {
  const mesh = await startMesh({
    own: true,
    free: true,
    instances: { connect: shape.connects, server: shape.servers },
    logs: shape.logs,
    env: systemSettings(shape, secrets),
    openFiles: shape.openFiles,
    print: printWarning,
  });
  return {
    ...secrets,
    ...shape,
    url: mesh.gatewayUrl,
    connectUrls: mesh.connectUrls,
    opsUrls: mesh.opsUrls,
    postgresUrl: mesh.postgresUrl,
    logUrls: mesh.logUrls,
    rabbitUrl: mesh.backends!.rabbit.url,
    redisUrl: mesh.backends!.redis.url,
    // The report adds up the instances of a service.
    processes: new Map(mesh.processes.map(({ pid, name }) => [pid, name.replace(/-\d+$/, "")])),
    stop: () => mesh.stop(),
  };
}

function startInOne(shape: Shape, secrets: Secrets): Promise<System> {
  return startAllOrNothing(async (started) => {
    const dataDir = await mkdtemp(join(tmpdir(), "lucky-bench-"));
    started.push(() => rm(dataDir, { recursive: true, force: true }));
    // PostgreSQL runs under another account when this runs as root.
    await chmod(dataDir, 0o711);
    const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
    const postgres = await startEmbedded({
      dataDir: join(dataDir, "postgres"),
      log,
      settings: shape.sharedBuffers ? { shared_buffers: shape.sharedBuffers } : {},
    });
    started.push(() => postgres.stop());
    const others = await createDatabases(postgres.url, (shape.logs ?? 1) - 1);
    const sockets = [postgres.url, ...others].map((url) => {
      const socket = new URL(postgres.socketUrl.replace("@/", "@localhost/"));
      socket.pathname = new URL(url).pathname;
      return socket.href.replace("@localhost/", "@/");
    });
    const [gatewayPort, connectPort, opsPort] = await freePorts(3);
    const all = startChild({
      name: "all",
      script: "services/all.ts",
      env: {
        PATH: process.env.PATH,
        // CPU profiles: see bench/profile.ts.
        NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS,
        ...systemSettings(shape, secrets),
        LUCKY_DATA_DIR: dataDir,
        // The Unix socket that all.ts uses for its embedded PostgreSQL.
        LUCKY_POSTGRES_URL: postgres.socketUrl,
        ...(others.length > 0 && { LUCKY_POSTGRES_LOG_URLS: sockets.join(",") }),
        LUCKY_GATEWAY_PORT: String(gatewayPort),
        LUCKY_CONNECT_PORT: String(connectPort),
        LUCKY_OPS_PORT: String(opsPort),
      },
      openFiles: shape.openFiles,
      readyUrl: `http://127.0.0.1:${opsPort}/readyz`,
      print: printWarning,
    });
    // Ends the processes when the bench exits without calling stop.
    const killNow = () => void all.kill("SIGKILL");
    process.once("exit", killNow);
    started.push(async () => {
      process.off("exit", killNow);
      await all.stop(20_000);
    });
    await all.ready();
    return {
      ...secrets,
      ...shape,
      url: `http://127.0.0.1:${gatewayPort}`,
      connectUrls: [`http://127.0.0.1:${connectPort}`],
      opsUrls: [`http://127.0.0.1:${opsPort}`],
      postgresUrl: postgres.url,
      logUrls: [postgres.url, ...others],
      processes: new Map([[all.pid, "all"]]),
      stop: () => started.stop(),
    };
  });
}

/** Prints a line of a log from level warn on. */
function printWarning(line: string): void {
  if (/"level":(40|50|60)/.test(line)) console.error(line);
}

function systemSettings(
  { settings = benchSettings }: Shape,
  secrets: Secrets,
): Record<string, string | undefined> {
  return {
    ...settings,
    ...environmentSettings(),
    // The bench needs it to write accounts into the tables itself.
    LUCKY_AUTH_KEY_ENCRYPTION_KEY: secrets.keyEncryptionKey,
  };
}

/**
 * LUCKY_ settings of the environment. They override the other settings, so that a variant can be measured.
 */
function environmentSettings(): Record<string, string | undefined> {
  const names = Object.keys(process.env).filter((name) => name.startsWith("LUCKY_"));
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

/** Flags of scenarios that start Lucky. */
export const shapeFlags = {
  mode: { default: "embedded", doc: "embedded: one process; mesh: one process for each service" },
  connects: { default: "1", doc: "instances of connect in a mesh" },
  servers: { default: "1", doc: "instances of server in a mesh" },
  logs: { default: "1", doc: "databases of the log, all in one PostgreSQL" },
  "shared-buffers": {
    default: "128MB",
    doc: "shared_buffers of PostgreSQL in embedded mode",
  },
} satisfies FlagTable;

/** Flags of scenarios whose devices open sockets. */
export const socketFlags = {
  "through-gateway": {
    default: undefined,
    doc: "open sockets through the gateway instead of directly at connect",
  },
} satisfies FlagTable;

/** Reads the shape. Throws an error for the user for an unknown mode. */
export function shapeOf(flags: FlagsOf<typeof shapeFlags>): Shape {
  const mode = flags.text("mode");
  if (mode !== "embedded" && mode !== "mesh") throw new Error("--mode must be embedded or mesh");
  const one = mode === "embedded";
  return {
    mode,
    connects: one ? 1 : flags.number("connects", 1),
    servers: one ? 1 : flags.number("servers", 1),
    logs: flags.number("logs", 1),
    sharedBuffers: flags.text("shared-buffers"),
  };
}

/** The shape as figures of a report. */
export function shapeFigures({ mode, connects, servers, logs = 1 }: Shape) {
  return { mode, connects, servers, logs };
}

/** Addresses at which devices open their sockets, round robin. */
export function addressesOf(system: System, flags: FlagsOf<typeof socketFlags>): readonly string[] {
  return flags.on("through-gateway") ? [system.url] : system.connectUrls;
}

/** Starts Lucky, prints its settings, runs the work, and stops Lucky. */
export async function withSystem<T>(
  shape: Shape,
  work: (system: System) => Promise<T>,
): Promise<T> {
  console.log(`starting Lucky (${shape.mode}); settings that differ from the defaults:`);
  const { settings = benchSettings } = shape;
  for (const [name, value] of Object.entries({ ...settings, ...environmentSettings() }))
    console.log(`  ${name}=${value}`);
  const system = await startSystem(shape);
  try {
    return await work(system);
  } finally {
    await system.stop();
  }
}
