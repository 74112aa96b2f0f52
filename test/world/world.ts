import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
import type { Clock } from "#platform/clock.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { type Started, startAllOrNothing } from "#platform/process/started.ts";
import type { Child } from "../../scripts/child.ts";
import { type OwnBackends, startMesh } from "../../scripts/mesh.ts";
import { type AllOptions, startAll } from "../../services/all.ts";
import { quiet, startTestPostgres } from "../backends/postgres.ts";
import { ageLimits, startMeshClock } from "../clock/mesh-clock.ts";
import { MovedClock } from "../clock/offset-clock.ts";

export type Mode = "embedded" | "mesh";

export interface WorldOptions {
  /** What LUCKY_TEST_MODE says when absent, else "embedded". */
  readonly mode?: Mode;
  /** LUCKY_… settings on top of those that make tests quick. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Parts to replace; embedded only. */
  readonly overrides?: Omit<NonNullable<AllOptions["overrides"]>, "clock">;
}

/**
 * The time of a world, of all its processes and of its test: it runs as the real one does, and a test
 * moves it forward. Two clocks cannot be moved. Redis' own: what the limiter has counted is made older
 * instead, and leases of instances stay as they are, renewed in real time. PostgreSQL's: by it run
 * the leases of worker numbers alone. After a jump of more than 20 s each process leases another
 * number, as after a machine's sleep, and gives no ids until it has it: register people before.
 */
export interface WorldClock extends Clock {
  /** Moves it; resolves when everybody has rung what came due, not when what that began is done. */
  advance(ms: number): Promise<void>;
}

/** A whole Lucky of a test's own. */
export interface World {
  readonly mode: Mode;
  /** Of the gateway: "http://127.0.0.1:port". */
  readonly url: string;
  /** Of each connect instance, without the gateway: "http://127.0.0.1:port". */
  readonly connects: readonly string[];
  readonly clock: WorldClock;
  /** To look at what was stored. */
  readonly pool: pg.Pool;
  /** The processes and servers of a mesh, to be stopped and killed. Throws when embedded. */
  readonly mesh: WorldMesh;
  /** Ends it before the test does. Idempotent. */
  stop(): Promise<void>;
}

export interface WorldMesh {
  readonly backends: OwnBackends;
  /** By name: gateway-0, auth-0, server-0, server-1, connect-0, connect-1, connect-2. */
  process(name: string): Child;
}

/** What can run something at its end: a test context, or `{ after }` of node:test for a file. */
interface Ending {
  after(close: () => Promise<void>): void;
}

/** The mode that the environment asks for. */
export const testMode: Mode = process.env.LUCKY_TEST_MODE === "mesh" ? "mesh" : "embedded";

const quick: Readonly<Record<string, string>> = {
  LUCKY_LOG_LEVEL: process.env.LUCKY_TEST_LOG ?? "silent",
  LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
  LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
  LUCKY_AUTH_HASH_ITERATIONS: "1",
  LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: "100000",
  LUCKY_LIMITS_READ_PER_SECOND: "100000",
  LUCKY_LIMITS_WRITE_PER_SECOND: "100000",
  LUCKY_LIMITS_SEND_PER_SECOND: "100000",
  LUCKY_GATEWAY_DRAIN_MS: "100",
  LUCKY_CONNECT_DRAIN_MS: "100",
  LUCKY_CONNECT_MOVE_SPREAD_MS: "0",
};

/** Starts a Lucky that ends with the test. Nothing of it is shared with another one. */
export async function startWorld(t: Ending, options: WorldOptions = {}): Promise<World> {
  const mode = options.mode ?? testMode;
  const env = { ...quick, ...options.settings };
  const world = await startAllOrNothing((started) =>
    mode === "mesh" ? startMeshed(started, env) : startEmbedded(started, env, options.overrides),
  );
  t.after(() => world.stop());
  return world;
}

async function startEmbedded(
  started: Started,
  env: Record<string, string>,
  overrides: WorldOptions["overrides"],
): Promise<World> {
  const clock = new MovedClock();
  const postgres = await startTestPostgres({ after: (close) => started.push(close) });
  const dataDir = await mkdtemp(join(tmpdir(), "lucky-data-"));
  started.push(() => rm(dataDir, { recursive: true, force: true }));
  const all = await startAll({
    env: {
      LUCKY_GATEWAY_PORT: "0",
      LUCKY_CONNECT_PORT: "0",
      LUCKY_OPS_PORT: "0",
      LUCKY_DATA_DIR: dataDir,
      LUCKY_POSTGRES_URL: postgres.url,
      ...env,
    },
    overrides: { ...overrides, clock },
  });
  started.push(() => all.stop());
  return {
    mode: "embedded",
    url: all.url,
    connects: [all.connectUrl],
    clock: clockOf(clock, async (ms) => clock.advance(ms)),
    pool: postgres.pool,
    get mesh(): WorldMesh {
      throw new Error("an embedded world has no mesh");
    },
    stop: () => started.stop(),
  };
}

async function startMeshed(started: Started, env: Record<string, string>): Promise<World> {
  const print = (line: string) => {
    if (env.LUCKY_LOG_LEVEL !== "silent") console.log(line);
  };
  const moved = await startMeshClock();
  started.push(() => moved.close());
  const { nodeArguments } = moved;
  const mesh = await startMesh({ own: true, free: true, env, nodeArguments, print });
  started.push(() => mesh.stop());
  const backends = mesh.backends!;
  const pool = createPool({ url: mesh.postgresUrl, max: 4, log: quiet, name: "test" });
  started.push(() => pool.end());
  return {
    mode: "mesh",
    url: mesh.gatewayUrl,
    connects: mesh.connectUrls,
    clock: clockOf(moved.clock, async (ms) => {
      await moved.advance(ms);
      await ageLimits(backends.redis.url, ms);
    }),
    pool,
    mesh: {
      backends,
      process(name) {
        const found = mesh.processes.find((child) => child.name === name);
        if (!found) throw new Error(`the mesh has no process ${name}`);
        return found;
      },
    },
    stop: () => started.stop(),
  };
}

function clockOf(clock: Clock, advance: WorldClock["advance"]): WorldClock {
  return {
    now: () => clock.now(),
    elapsed: () => clock.elapsed(),
    after: (delayMs, ring) => clock.after(delayMs, ring),
    every: (intervalMs, ring) => clock.every(intervalMs, ring),
    advance,
  };
}
