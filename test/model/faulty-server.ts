import type pg from "pg";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock } from "#platform/clock.ts";
import type { ObserveRun } from "../../services/server/log/database.ts";
import type { RunningServer, Stand } from "../../services/server/server.fixture.ts";
import type { Databases } from "./databases.ts";
import type { Crash } from "./steps.ts";

/** Longer than a run and the differences between the clocks, ms. */
const LONG_MS = 1_000_000_000;

/** State shared by the servers of a run, and the faults between them. */
export interface Surroundings {
  readonly stand: Stand;
  readonly databases: Databases;
  /** Whether the bus confirms messages and drops them. */
  losing: boolean;
  /** Queries and waits for a connection in flight, of all servers. */
  busy: number;
  /** Called, and removed, when `busy` becomes 0. */
  readonly whenIdle: (() => void)[];
}

/**
 * A server whose process can die: from then on its timers do not fire, its queries fail, also those in
 * flight, and it publishes nothing. Its clock can be wrong.
 */
export class FaultyServer {
  /** Difference of its clock from the true time, ms. */
  offsetMs = 0;
  /** The query at which it dies. */
  crash: Crash | null = null;
  alive = true;
  running!: RunningServer;
  readonly #around: Surroundings;
  /** One facade for each connection, because the server remembers the connections that it has set up. */
  readonly #clients = new WeakMap<pg.PoolClient, pg.PoolClient>();

  private constructor(around: Surroundings) {
    this.#around = around;
  }

  static async start(around: Surroundings): Promise<FaultyServer> {
    const server = new FaultyServer(around);
    const { pools } = around.stand;
    server.running = await around.stand.server(
      // The clocks of the servers differ by hours.
      { editWindowMs: LONG_MS, recallWindowMs: LONG_MS },
      {
        clock: server.#clock(),
        pools: pools.map((pool, number) => server.#pool(pool, number)),
        bus: server.#bus(),
        ...(pools.length > 1 ? { observe: server.#observe } : {}),
      },
    );
    return server;
  }

  kill(): void {
    this.alive = false;
  }

  #clock(): Clock {
    const { clock } = this.#around.stand;
    const guarded = (callback: () => void) => () => {
      if (this.alive) callback();
    };
    return {
      now: () => clock.now() + this.offsetMs,
      elapsed: () => clock.elapsed(),
      after: (ms, callback) => clock.after(ms, guarded(callback)),
      every: (ms, callback) => clock.every(ms, guarded(callback)),
    };
  }

  #bus(): Bus {
    const { bus } = this.#around.stand;
    return {
      ...bus,
      ready: () => this.alive && bus.ready(),
      publish: async (queue, body, signal) => {
        this.#mustLive();
        return this.#around.losing ? "confirmed" : bus.publish(queue, body, signal);
      },
    };
  }

  readonly #observe: ObserveRun = (...run) => {
    if (this.alive) this.#around.databases.routes.observe(...run);
  };

  #pool(pool: pg.Pool, number: number): pg.Pool {
    const connect = async () => {
      this.#mustLive();
      if (this.#around.databases.away === number)
        throw Object.assign(new Error("the database is away"), { code: "ECONNREFUSED" });
      const client = await this.#counted(pool.connect());
      const facade = this.#clients.get(client) ?? this.#facadeOf(client);
      this.#clients.set(client, facade);
      return facade;
    };
    return { connect } as unknown as pg.Pool;
  }

  #facadeOf(client: pg.PoolClient): pg.PoolClient {
    const query = async (query: string | pg.QueryConfig, values?: unknown[]) => {
      this.#mustLive();
      const crash = typeof query === "string" ? null : this.#crashNow();
      if (crash?.executed === false) this.kill();
      this.#mustLive();
      const result = await this.#counted(client.query(query, values));
      if (crash) this.kill();
      this.#mustLive();
      return result;
    };
    const release = (error?: Error | boolean) => client.release(error);
    return { query, release } as unknown as pg.PoolClient;
  }

  /** The crash, when it is due at this query. */
  #crashNow(): Crash | null {
    const { crash } = this;
    if (crash === null || crash.after > 0) {
      if (crash !== null) this.crash = { ...crash, after: crash.after - 1 };
      return null;
    }
    this.crash = null;
    return crash;
  }

  async #counted<T>(work: Promise<T>): Promise<T> {
    const around = this.#around;
    around.busy++;
    try {
      return await work;
    } finally {
      around.busy--;
      if (around.busy === 0) for (const wake of around.whenIdle.splice(0)) wake();
    }
  }

  #mustLive(): void {
    if (!this.alive) throw Object.assign(new Error("the server is dead"), { code: "ECONNRESET" });
  }
}
