import assert from "node:assert/strict";
import type { Client } from "@connectrpc/connect";
import type pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { createHub, createMemoryRegistry } from "#platform/registry/memory.ts";
import { type RunningServer, Stand } from "../../services/server/server.fixture.ts";
import { type ConnectHarness, startConnectHarness } from "../connect/connect-harness.ts";
import type { Databases } from "./databases.ts";
import { FaultyServer, type Surroundings } from "./faulty-server.ts";
import { MAX_SERVERS } from "./steps.ts";

/** Connect instances of a run. */
const INSTANCES = 2;
/** Consecutive turns of the event loop without a query that count as idle. */
const CALM_TURNS = 4;
/** Time after which a server reads the place of a bucket again when a statement fails, ms. */
const MOVED_MS = 500;
/** Interval at which servers read the places of the buckets, and find a database again, ms. */
const REFRESH_MS = 5_000;

/** Calls of one server while a bucket moves, and after that. */
const MOVE_ATTEMPTS = 3;

interface CleanupScope {
  after(close: () => Promise<void>): void;
}

/** Servers and connect instances around the databases of a log, with faults. */
export class System {
  readonly connects: ConnectHarness[] = [];
  readonly #around: Surroundings;
  #servers: FaultyServer[] = [];
  /** The server that sends from connect go to first. */
  #preferred: FaultyServer | undefined;
  #turn = 0;
  #starting: Promise<FaultyServer> | undefined;

  private constructor(around: Surroundings) {
    this.#around = around;
  }

  static async start(scope: CleanupScope, databases: Databases): Promise<System> {
    const hub = createHub();
    // Worker numbers are counted for each pool, from 0.
    const own = databases.pools.map(
      (pool) => ({ connect: () => pool.connect() }) as unknown as pg.Pool,
    );
    const stand = new Stand(scope, own, (clock) => createMemoryRegistry({ clock, hub }));
    const system = new System({ stand, databases, losing: false, busy: 0, whenIdle: [] });
    for (let nth = 0; nth < MAX_SERVERS; nth++) await system.startServer();
    for (let nth = 0; nth < INSTANCES; nth++) {
      const instance = await startConnectHarness(scope, {
        clock: stand.clock,
        instanceId: `connect-${nth}`,
        with: { ...system.connects[0], bus: stand.bus, hub, registry: stand.registry },
        server: system.#ingress(),
        // The socket's idle time is four times this; its maximum is 960 s.
        config: { heartbeatIntervalMs: 200_000, framesPerSecond: 10_000, framesBurst: 100_000 },
      });
      system.connects.push(instance);
    }
    await system.settle();
    return system;
  }

  get alive(): readonly FaultyServer[] {
    return this.#servers.filter(({ alive }) => alive);
  }

  get databases() {
    return this.#around.databases;
  }

  get clock() {
    return this.#around.stand.clock;
  }

  /** Starts a server; above the maximum, the oldest one dies. */
  async startServer(): Promise<FaultyServer> {
    const server = await FaultyServer.start(this.#around);
    this.#servers = [...this.alive, server];
    if (this.alive.length > MAX_SERVERS) this.#servers[0]!.kill();
    return server;
  }

  /** The nth of the living servers. */
  server(nth: number): FaultyServer | undefined {
    return this.alive[nth % Math.max(1, this.alive.length)];
  }

  /** Sends from connect go to this server until it fails. */
  prefer(server: FaultyServer | undefined): void {
    this.#preferred = server;
  }

  setBus(state: "up" | "known" | "silent" | "losing"): void {
    this.#around.losing = state === "losing";
    this.#around.stand.busOutage = state === "known" || state === "silent" ? state : "none";
  }

  setRegistry(down: boolean): void {
    this.#around.stand.registryDown = down;
  }

  /** Refuses connections to a database, or to none. The servers find one that is back. */
  async setAway(database: number | undefined): Promise<void> {
    const { databases } = this;
    const isBack = databases.away !== undefined && databases.away !== database;
    databases.away = database;
    if (isBack) await this.advance(REFRESH_MS);
  }

  /** Resumes a killed move of a bucket. */
  async resumeMove(): Promise<void> {
    await this.databases.resume();
    await this.advance(MOVED_MS);
  }

  /** Repairs everything but dead servers, and starts a server when there is none. */
  async repair(): Promise<void> {
    this.setBus("up");
    this.setRegistry(false);
    this.prefer(undefined);
    for (const server of this.alive) server.offsetMs = 0;
    if (this.alive.length === 0) await this.startServer();
    await this.resumeMove();
    await this.setAway(undefined);
  }

  /**
   * Calls a server, with the retries of a device: after UNAVAILABLE or OVERLOADED it calls the
   * next living server, or a new one when all have failed. A call that concerns a blocked bucket is
   * not retried.
   */
  async call<T>(
    first: FaultyServer | undefined,
    call: (server: RunningServer) => Promise<T>,
    isBlocked = () => false,
  ): Promise<T> {
    const failed = new Set<FaultyServer>();
    let next = first;
    for (let attempt = 1; ; attempt++) {
      const server = next?.alive ? next : await this.#freshServer();
      try {
        return await call(server.running);
      } catch (error) {
        if (!isTemporary(error)) throw error;
        if ((await this.moveEnds()) && attempt < MOVE_ATTEMPTS) continue;
        if (isBlocked() || failed.size > 2 * MAX_SERVERS) throw error;
      }
      failed.add(server);
      next = this.alive.find((other) => !failed.has(other));
    }
  }

  /** Calls a server with retries. Returns the reason of a refusal; undefined for none. */
  async refusalOf(
    nth: number,
    call: (server: RunningServer) => Promise<unknown>,
  ): Promise<string | undefined> {
    try {
      await this.call(this.server(nth), call);
      return undefined;
    } catch (error) {
      return ErrorReason[reasonOf(error)];
    }
  }

  /** Calls a server for a conversation that no server can reach. */
  async mustFail(nth: number, call: (server: RunningServer) => Promise<unknown>): Promise<void> {
    await assert.rejects(
      this.call(this.server(nth), call, () => true),
      isTemporary,
    );
    await this.settle();
  }

  /** Waits until servers can read the new place of a bucket. Returns whether one moves in this step. */
  async moveEnds(): Promise<boolean> {
    const { moving } = this.databases;
    if (moving === undefined) return false;
    await moving;
    this.clock.advance(MOVED_MS);
    return true;
  }

  /** Starts a server; callers at the same time share it. */
  #freshServer(): Promise<FaultyServer> {
    this.#starting ??= this.startServer().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  /** Resolves when no query is in flight, and none follows. */
  async settle(): Promise<void> {
    for (let calm = 0; calm < CALM_TURNS; calm++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#around.busy === 0) continue;
      await new Promise<void>((resolve) => this.#around.whenIdle.push(resolve));
      calm = 0;
    }
  }

  /** Moves the time of all processes, and waits for what that caused. */
  async advance(ms: number): Promise<void> {
    this.clock.advance(ms);
    await this.settle();
  }

  /**
   * Connect's client of the servers. Sends go to the preferred server until it fails. Everything else
   * goes to servers that are not about to die, in turn: a crash counts the queries of sends.
   */
  #ingress(): Client<typeof IngressService> {
    const target = async (method: string) => {
      const preferred = this.#preferred;
      if (method === "appendBatch" && preferred?.alive) return preferred;
      const healthy = this.alive.filter(({ crash }) => crash === null);
      return healthy[this.#turn++ % Math.max(1, healthy.length)] ?? this.#freshServer();
    };
    return new Proxy({} as Client<typeof IngressService>, {
      get: (_, method: keyof Client<typeof IngressService>) => {
        return async (request: never, options: never) => {
          const server = await target(method);
          try {
            return await server.running.ingress[method](request, options);
          } catch (error) {
            if (server === this.#preferred) this.#preferred = undefined;
            throw error;
          }
        };
      },
    });
  }
}

/** Whether a device retries after this error. */
export function isTemporary(error: unknown): boolean {
  return isTemporaryReason(ErrorReason[reasonOf(error)]!);
}

export function isTemporaryReason(reason: string): boolean {
  return reason === "UNAVAILABLE" || reason === "OVERLOADED";
}
