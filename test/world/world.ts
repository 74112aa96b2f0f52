import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
import type { Clock } from "#platform/clock.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { type Started, startAllOrNothing } from "#platform/process/started.ts";
import type { Child } from "../../scripts/child.ts";
import { type OwnBackends, startMesh } from "../../scripts/mesh.ts";
import { createDatabasePasswords, prepareDatabase } from "../../scripts/mesh-database.ts";
import { type AllOptions, startAll } from "../../services/all.ts";
import { quiet, startTestPostgres } from "../backends/postgres.ts";
import type { Teardown } from "../backends/teardown.ts";
import { ageLimits, startMeshClock } from "../clock/mesh-clock.ts";
import { OffsetClock } from "../clock/offset-clock.ts";

export type Mode = "embedded" | "mesh";

export interface WorldOptions {
  /** The mode of LUCKY_TEST_MODE when absent; "embedded" without that variable too. */
  readonly mode?: Mode;
  /** LUCKY_… settings on top of FAST_SETTINGS. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Parts to replace; an embedded world only. */
  readonly overrides?: Omit<NonNullable<AllOptions["overrides"]>, "clock">;
}

/**
 * The time of a world: one clock for its test and all its processes. It runs like the system clock,
 * and a test moves it forward and steps it. Two clocks cannot be moved:
 * - Redis' own clock. When time moves forward, the limiter's counters are made older instead.
 *   Instances renew their leases in real time, so those leases stay as they are.
 * - PostgreSQL's clock. Only the leases of worker numbers use it. After a move of more than 20 s each
 *   process leases another worker number, and creates no ids until it has one: register people before
 *   such a move.
 */
export interface WorldClock extends Clock {
  /**
   * Moves it forward. Resolves when every process has fired the timers that became due. Asynchronous
   * work that those timers started may still be running.
   */
  advance(ms: number): Promise<void>;
  /**
   * Steps the time of day of all processes, forward or back, while no time elapses. Resolves when
   * every process has it.
   */
  step(ms: number): Promise<void>;
}

/** A whole system that one test starts for itself. */
export interface World {
  readonly mode: Mode;
  /** Address of the gateway: "http://127.0.0.1:port". */
  readonly url: string;
  /** Address of each connect instance, bypassing the gateway: "http://127.0.0.1:port". */
  readonly connects: readonly string[];
  readonly clock: WorldClock;
  /** Direct access to the system's home database. */
  readonly pool: pg.Pool;
  /** Direct access to the databases of the log: three in the mesh; one, the home database, embedded. */
  readonly logs: readonly pg.Pool[];
  /** Processes and servers of the mesh, for a test to stop and kill. Throws when embedded. */
  readonly mesh: WorldMesh;
  /** Stops it before the test ends. Idempotent. */
  stop(): Promise<void>;
}

export interface WorldMesh {
  readonly backends: OwnBackends;
  /** URLs of the databases of the log, for the owner of the tables. */
  readonly logUrls: readonly string[];
  /**
   * Returns a process by its name: gateway-0, auth-0, server-0, server-1, connect-0, connect-1,
   * connect-2.
   */
  process(name: string): Child;
  /** The value of a metric of a process, with its labels, such as 'name{a="b"}'; 0 when not shown. */
  metric(name: string, series: string): Promise<number>;
  /** Address of a process's metrics and health checks: "http://127.0.0.1:port". */
  opsUrl(name: string): string;
}

/** The mode set in the environment. */
export const testMode: Mode = process.env.LUCKY_TEST_MODE === "mesh" ? "mesh" : "embedded";

/**
 * Settings that make tests fast: cheap password hashes, no estimates of passwords (their thread takes a
 * second of CPU to start), small caches, no rate limits, short drains.
 */
export const FAST_SETTINGS: Readonly<Record<string, string>> = {
  LUCKY_LOG_LEVEL: process.env.LUCKY_TEST_LOG ?? "silent",
  LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
  LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
  LUCKY_AUTH_HASH_ITERATIONS: "1",
  LUCKY_AUTH_PASSWORD_MIN_SCORE: "0",
  LUCKY_SERVER_CACHED_MEMBERSHIPS: "10000",
  LUCKY_SERVER_CACHED_USERS: "10000",
  LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: "100000",
  LUCKY_LIMITS_READ_PER_SECOND: "100000",
  LUCKY_LIMITS_WRITE_PER_SECOND: "100000",
  LUCKY_LIMITS_SEND_PER_SECOND: "100000",
  LUCKY_LIMITS_REFUSALS_PER_SECOND: "100000",
  LUCKY_GATEWAY_DRAIN_MS: "5000",
  LUCKY_CONNECT_DRAIN_MS: "100",
  LUCKY_CONNECT_MOVE_SPREAD_MS: "0",
};

/** Starts a whole system, which stops at teardown. It shares nothing with other worlds. */
export async function startWorld(t: Teardown, options: WorldOptions = {}): Promise<World> {
  const mode = options.mode ?? testMode;
  const env = { ...FAST_SETTINGS, ...options.settings };
  const world = await startAllOrNothing((started) =>
    mode === "mesh"
      ? startMeshWorld(started, env)
      : startEmbeddedWorld(started, env, options.overrides),
  );
  t.after(() => world.stop());
  return world;
}

async function startEmbeddedWorld(
  started: Started,
  env: Record<string, string>,
  overrides: WorldOptions["overrides"],
): Promise<World> {
  const clock = new OffsetClock();
  const postgres = await startTestPostgres({ after: (close) => started.push(close) });
  // As in the mesh, auth and server log in as users that have only the rights of their roles.
  const urls = await prepareDatabase(postgres.url, createDatabasePasswords());
  const dataDir = await mkdtemp(join(tmpdir(), "lucky-data-"));
  started.push(() => rm(dataDir, { recursive: true, force: true }));
  const all = await startAll({
    env: {
      LUCKY_GATEWAY_PORT: "0",
      LUCKY_CONNECT_PORT: "0",
      LUCKY_OPS_PORT: "0",
      LUCKY_DATA_DIR: dataDir,
      ...urls,
      ...env,
    },
    overrides: { ...overrides, clock },
  });
  started.push(() => all.stop());
  return {
    mode: "embedded",
    url: all.url,
    connects: [all.connectUrl],
    clock: worldClock(clock, {
      advance: async (ms) => clock.advance(ms),
      step: async (ms) => clock.step(ms),
    }),
    pool: postgres.pool,
    logs: postgres.logs,
    get mesh(): WorldMesh {
      throw new Error("an embedded world has no mesh");
    },
    stop: () => started.stop(),
  };
}

/** Databases of the log in the mesh. */
const LOGS = 3;

async function startMeshWorld(started: Started, env: Record<string, string>): Promise<World> {
  const print = (line: string) => {
    if (env.LUCKY_LOG_LEVEL !== "silent") console.log(line);
  };
  const meshClock = await startMeshClock();
  started.push(() => meshClock.close());
  const { nodeArguments } = meshClock;
  const mesh = await startMesh({ own: true, free: true, logs: LOGS, env, nodeArguments, print });
  started.push(() => mesh.stop());
  const backends = mesh.backends!;
  const indexOf = (name: string) => {
    const index = mesh.processes.findIndex((child) => child.name === name);
    if (index < 0) throw new Error(`the mesh has no process ${name}`);
    return index;
  };
  const logs = mesh.logUrls.map((url) => createPool({ url, max: 4, log: quiet, name: "test" }));
  for (const pool of logs) started.push(() => pool.end());
  return {
    mode: "mesh",
    url: mesh.gatewayUrl,
    connects: mesh.connectUrls,
    clock: worldClock(meshClock.clock, {
      async advance(ms) {
        await meshClock.advance(ms);
        await ageLimits(backends.redis.url, ms);
      },
      step: (ms) => meshClock.step(ms),
    }),
    pool: logs[0]!,
    logs,
    mesh: {
      backends,
      logUrls: mesh.logUrls,
      async metric(name, series) {
        const response = await fetch(`${mesh.opsUrls[indexOf(name)]}/metrics`);
        const lines = (await response.text()).split("\n");
        const line = lines.find((one) => one.startsWith(`${series} `));
        return Number(line?.slice(series.length) ?? 0);
      },
      process: (name) => mesh.processes[indexOf(name)]!,
      opsUrl: (name) => mesh.opsUrls[indexOf(name)]!,
    },
    stop: () => started.stop(),
  };
}

function worldClock(clock: Clock, moves: Pick<WorldClock, "advance" | "step">): WorldClock {
  return {
    now: () => clock.now(),
    elapsed: () => clock.elapsed(),
    after: (delayMs, ring) => clock.after(delayMs, ring),
    every: (intervalMs, ring) => clock.every(intervalMs, ring),
    ...moves,
  };
}

/**
 * Resolves when every instance has a lease of a worker number by the moved clock, so that it can create ids.
 * After a long move an instance has lost its lease, and leases another number.
 */
export async function untilIdsCanBeMade({ pool, clock }: World): Promise<void> {
  const isLate = async () => {
    const { rows } = await pool.query<{ reserved: string }>(
      `SELECT max(reserved_until_ms) AS reserved FROM lucky.worker
        WHERE expires_at > now() GROUP BY split_part(holder, '/', 1)`,
    );
    return rows.some(({ reserved }) => Number(reserved) < clock.now());
  };
  while (await isLate());
}

/** The rows of a query in all databases of the log. */
export async function queryLogs<R extends pg.QueryResultRow>(
  { logs }: Pick<World, "logs">,
  text: string,
  values: unknown[] = [],
): Promise<R[]> {
  const results = await Promise.all(logs.map((pool) => pool.query<R>(text, values)));
  return results.flatMap(({ rows }) => rows);
}
