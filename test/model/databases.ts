import type pg from "pg";
import { closeLogs, type LockedLog, lockLogs } from "#platform/buckets/locked-logs.ts";
import { type MoveStep, moveBuckets } from "#platform/buckets/move.ts";
import { BucketState } from "#platform/buckets/placement.ts";
import { resumeMoves } from "#platform/buckets/resume.ts";
import { RouteCheck } from "../../services/server/log/routes.fixture.ts";
import { quiet, type TestPostgres } from "../backends/postgres.ts";
import type { Move } from "./steps.ts";

/** Longest wait for the locks of a mover whose connections have just broken, ms. */
const LOCK_WAIT_MS = 10_000;

const CLEAR = `TRUNCATE im.conversation, im.member, im.direct, im.group_key, im.entry, im.outbox, im.news,
  im.change, im.message_state, im.revision, im.reaction, im.withdrawn, im.mention, im.hidden`;

const { signal } = new AbortController();

/** The databases of the log in one run: where the buckets are, moves between them, and an outage. */
export class Databases {
  readonly pools: readonly pg.Pool[];
  /** Compares the runs of statements with the places of the buckets. */
  readonly routes: RouteCheck;
  /** The database that refuses the connections of the servers; undefined for none. */
  away: number | undefined;
  /** Resolves when the move of the current step has ended. Undefined in steps without a move. */
  moving: Promise<void> | undefined;
  readonly #urls: readonly string[];
  /** By bucket that has moved: its database, undefined while it is fenced. */
  readonly #places = new Map<number, number | undefined>();
  /** By bucket that has moved: databases in which servers with stale places may look for it. */
  readonly #possible = new Map<number, Set<number>>();
  /** The bucket of a move that was killed. */
  #unfinished: number | undefined;

  private constructor({ logs, logUrls }: TestPostgres) {
    this.pools = logs;
    this.#urls = logUrls;
    this.routes = new RouteCheck(logs.length, (bucket, database) => {
      const possible = this.#possible.get(bucket);
      return possible?.has(database) ?? this.#assigned(bucket) === database;
    });
  }

  /** The databases without any conversation, and with the buckets that they had at first. */
  static async open(postgres: TestPostgres): Promise<Databases> {
    const { length: count } = postgres.logs;
    for (const [at, pool] of postgres.logs.entries())
      await pool.query(
        `${CLEAR}; UPDATE im.bucket SET state = (bucket % ${count} = ${at})::int
                    WHERE state <> (bucket % ${count} = ${at})::int`,
      );
    return new Databases(postgres);
  }

  /** Whether no server can reach the conversations of a bucket. */
  isBlocked(bucket: number): boolean {
    const place = this.#placeOf(bucket);
    return place === undefined || place === this.away;
  }

  /** Moves a bucket, and does the work when the move reaches its step. Finishes a killed move first. */
  async moveDuring<T>(bucket: number, move: Move, work: () => Promise<T>): Promise<T> {
    await this.resume();
    const { promise: started, resolve: start } = Promise.withResolvers<void>();
    const moved = this.#move(bucket, move, (step) => {
      if (step === move.during) start();
    });
    this.moving = moved.catch(() => {}).finally(start);
    await started;
    const result = await work();
    await moved;
    this.moving = undefined;
    return result;
  }

  /** Resumes a move that was killed. */
  async resume(): Promise<void> {
    const bucket = this.#unfinished;
    if (bucket === undefined) return;
    await this.#locked((logs) => resumeMoves(logs, { signal, log: quiet }));
    this.#unfinished = undefined;
    await this.#readPlace(bucket);
  }

  /** All servers have read the places of the buckets since the last move. */
  placesKnown(): void {
    for (const bucket of this.#possible.keys())
      this.#possible.set(bucket, new Set([this.#placeOf(bucket)!]));
  }

  async #move(
    bucket: number,
    { by, death }: Move,
    reached: (step: MoveStep) => void,
  ): Promise<void> {
    const from = this.#placeOf(bucket)!;
    const to = (from + by) % this.pools.length;
    this.#possible.set(bucket, (this.#possible.get(bucket) ?? new Set([from])).add(to));
    const onStep = async (step: MoveStep) => {
      reached(step);
      if (death?.after === step) await this.#die(death);
    };
    const move = this.#locked((logs) =>
      moveBuckets({
        from: logs[from]!,
        to: logs[to]!,
        buckets: [bucket],
        signal,
        log: quiet,
        onStep,
      }),
    );
    await move.catch((error: unknown) => {
      if (death === null) throw error;
      this.#unfinished = bucket;
    });
    await this.#readPlace(bucket);
  }

  async #die({ connections }: NonNullable<Move["death"]>): Promise<void> {
    if (!connections) throw new Error("killed");
    await this.pools[0]!.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'buckets'",
    );
  }

  async #locked(work: (logs: LockedLog[]) => Promise<unknown>): Promise<void> {
    const addresses = this.#urls.map((url, at) => ({ url, variable: `URL ${at + 1}` }));
    const logs = await lockLogs(addresses, { waitMs: LOCK_WAIT_MS });
    await work(logs).finally(() => closeLogs(logs));
  }

  async #readPlace(bucket: number): Promise<void> {
    const states = await Promise.all(
      this.pools.map((pool) =>
        pool.query<{ state: number }>("SELECT state FROM im.bucket WHERE bucket = $1", [bucket]),
      ),
    );
    const place = states.findIndex(({ rows }) => rows[0]!.state === BucketState.HERE);
    this.#places.set(bucket, place < 0 ? undefined : place);
  }

  #placeOf(bucket: number): number | undefined {
    return this.#places.has(bucket) ? this.#places.get(bucket) : this.#assigned(bucket);
  }

  #assigned(bucket: number): number {
    return bucket % this.pools.length;
  }
}
