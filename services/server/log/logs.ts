import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { mustDiffer } from "#platform/buckets/assign.ts";
import { BUCKETS, bucketOf } from "#platform/buckets/bucket.ts";
import { countByBucket, doubled, missingIn, type Placement } from "#platform/buckets/placement.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";
import {
  Database,
  isConflict,
  isForeignBucket,
  type ObserveRun,
  type Pool,
  unreachable,
} from "./database.ts";
import { readPlacement, selectPlacement } from "./placements.ts";

export interface LogsOptions {
  /** One pool for each database of the log. */
  readonly pools: readonly Pool[];
  readonly clock: Clock;
  readonly log: Log;
  /** Time without an answer after which one of several databases counts as unreachable, ms. */
  readonly answerMs: number;
  readonly observe?: ObserveRun;
}

/** Items whose work failed, with the error. */
export interface Failure<T> {
  readonly items: readonly T[];
  readonly error: unknown;
}

/** Results and failures of work on several databases. */
export interface Spread<T, R> {
  readonly results: readonly R[];
  readonly failures: readonly Failure<T>[];
}

/** For operators. */
const AFTER_RESTORE =
  'After the restore of a database see docs/administration.md, section "Several databases".';
/** Interval at which the places of the buckets are read, ms. */
const REFRESH_MS = 5_000;
/** Interval at which databases that cannot be reached are probed, ms. */
const PROBE_MS = 1_000;
/** Time after a read in which errors cause no further read, ms. A bucket moves within a second. */
const FRESH_MS = 100;
/** Time after a read in which a bucket without a place causes no further read, ms. */
const UNKNOWN_MS = 500;
/** Back-off for callers while a bucket moves, ms. */
const MOVING_RETRY_MS = 500;
/**
 * Maximum attempts of one work: a bucket may move between reading its place and the work, and the work
 * may conflict with another one, such as the fence of a move.
 */
const MAX_ATTEMPTS = 3;

/**
 * The databases of the log, and the place of each bucket: its database. The cached places may be
 * stale: statements check them (im.owns), and work on a bucket that has moved is retried in its new
 * database.
 */
export class Logs {
  readonly databases: readonly Database[];
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #answerMs: number;
  /** By bucket: its database; undefined while it moves or its database was never reached. */
  #places: readonly (Database | undefined)[] = [];
  #refreshing: Promise<void> | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;
  /** Databases with a probe that has no answer yet. */
  readonly #probed = new Set<Database>();
  #timers: readonly Timer[] = [];

  constructor({ pools, clock, log, answerMs, observe }: LogsOptions) {
    const failAfterMs = pools.length > 1 ? answerMs : undefined;
    this.databases = pools.map(
      (pool, number) => new Database({ pool, clock, number, failAfterMs, observe }),
    );
    this.#clock = clock;
    this.#log = log;
    this.#answerMs = answerMs;
  }

  /**
   * Reads the places of all buckets, now and at an interval. Rejects with an error for operators when
   * two databases have the same bucket, when all databases answer and a bucket is in none, and when two
   * addresses are of one database.
   */
  async start(): Promise<void> {
    const placements = await this.#read();
    const known = placements.filter((placement) => placement !== undefined);
    mustDiffer(known);
    const twice = doubled(known);
    if (twice !== undefined)
      throw new Error(
        `Bucket ${twice} of conversations is in two databases of LUCKY_POSTGRES_LOG_URLS. One of them ` +
          `may be a copy of the other: remove the one that is out of date. ${AFTER_RESTORE}`,
      );
    const missing = known.length < this.databases.length ? 0 : missingIn(known);
    if (missing > 0)
      throw new Error(
        `${missing} of ${BUCKETS} buckets of conversations are in no database. Name all databases of ` +
          `the log in LUCKY_POSTGRES_LOG_URLS; "npm run migrate" assigns the buckets of a new log. ${AFTER_RESTORE}`,
      );
    this.#place(placements);
    if (this.databases.length > 1)
      this.#timers = [
        this.#clock.every(REFRESH_MS, () => void this.refresh()),
        this.#clock.every(PROBE_MS, () => this.#probe()),
      ];
  }

  stop(): void {
    for (const timer of this.#timers) timer.stop();
  }

  /** The database of a bucket; undefined while it moves or its database was never reached. */
  peek(bucket: number): Database | undefined {
    return this.#places[bucket];
  }

  /** The database of a conversation, as `peek`. Called for each send. */
  peekConversation(conversationId: string): Database | undefined {
    if (this.databases.length === 1) return this.databases[0];
    return this.peek(bucketOf(conversationId));
  }

  /** The database of a bucket. Throws UNAVAILABLE while there is none. */
  of(bucket: number): Database {
    const database = this.peek(bucket);
    if (database === undefined) throw moving();
    return database;
  }

  /**
   * Runs work on the database of one bucket, and retries it when the bucket has moved and after a
   * conflict. Throws UNAVAILABLE, and errors of the work.
   */
  async on<R>(bucket: number, work: (db: Database) => Promise<R>): Promise<R> {
    for (let attempt = 1; ; attempt++) {
      if (this.peek(bucket) === undefined) await this.refresh();
      const db = this.of(bucket);
      try {
        return await work(db);
      } catch (error) {
        if (!isRepeatable(error)) throw error;
        if (isForeignBucket(error)) {
          this.#leave(bucket, db);
          await this.refresh();
        }
        if (attempt === MAX_ATTEMPTS) throw gaveUp(error);
      }
    }
  }

  /** Runs work on the database of one conversation, as `on` does. */
  onConversation<R>(
    conversationId: string | bigint,
    work: (db: Database) => Promise<R>,
  ): Promise<R> {
    return this.on(bucketOf(conversationId), work);
  }

  /**
   * Runs work for items, once for each database of their buckets, and retries it for buckets that have
   * moved, and after a conflict. A database that fails leaves the items of the others alone. Never rejects.
   */
  async spread<T, R>(
    items: readonly T[],
    bucketOf: (item: T) => number,
    work: (db: Database, items: readonly T[]) => Promise<R>,
  ): Promise<Spread<T, R>> {
    const results: R[] = [];
    const failures: Failure<T>[] = [];
    let open = items;
    for (let attempt = 1; open.length > 0; attempt++) {
      const groups = Map.groupBy(open, (item) => this.peek(bucketOf(item)));
      const again: T[] = [];
      let isStale = false;
      const run = async (db: Database | undefined, items: readonly T[]) => {
        try {
          if (db === undefined) {
            if (attempt === MAX_ATTEMPTS || !(await this.#mayKnow())) throw moving();
            again.push(...items);
          } else results.push(await this.#inTime(work(db, items)));
        } catch (error) {
          if (!isRepeatable(error)) failures.push({ items, error });
          else if (attempt === MAX_ATTEMPTS) failures.push({ items, error: gaveUp(error) });
          else again.push(...items);
          if (!isForeignBucket(error)) return;
          // The other items of this database need not wait for the bucket.
          this.#leave(Number(error.detail), db);
          isStale = true;
        }
      };
      await Promise.all([...groups].map(([db, items]) => run(db, items)));
      if (isStale) await this.refresh();
      open = again;
    }
    return { results, failures };
  }

  /** Runs work on every database. One that does not answer in time fails. Never rejects. */
  async everywhere<R>(work: (db: Database) => Promise<R>): Promise<Spread<Database, R>> {
    const settled = await Promise.allSettled(this.databases.map((db) => this.#inTime(work(db))));
    const results = settled.filter((one) => one.status === "fulfilled").map(({ value }) => value);
    const failures = settled.flatMap((one, at) =>
      one.status === "fulfilled" ? [] : [{ items: [this.databases[at]!], error: one.reason }],
    );
    return { results, failures };
  }

  /**
   * The result of work on one of several databases. Rejects with UNAVAILABLE when it takes longer than
   * answerMs: the callers of the other databases must not wait. The work goes on.
   */
  async #inTime<R>(work: Promise<R>): Promise<R> {
    if (this.databases.length === 1) return work;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = this.#clock.after(this.#answerMs, () => reject(unreachable()));
    try {
      return await Promise.race([work, late]);
    } finally {
      timer.stop();
    }
  }

  /** Forgets that a database has a bucket, until the next read. */
  #leave(bucket: number, db: Database | undefined): void {
    if (this.#places[bucket] === db) this.#places = this.#places.with(bucket, undefined);
  }

  /** Reads the places when the last read is old; returns whether they may have changed. */
  async #mayKnow(): Promise<boolean> {
    if (this.#clock.elapsed() - this.#readAtMs < UNKNOWN_MS) return false;
    await this.refresh();
    return true;
  }

  /** Reads the places of all buckets, unless they have just been read. Never rejects. */
  refresh(): Promise<void> {
    if (this.#clock.elapsed() - this.#readAtMs < FRESH_MS) return Promise.resolve();
    this.#refreshing ??= this.#read()
      .then((placements) => this.#place(placements))
      .finally(() => {
        this.#refreshing = undefined;
      });
    return this.#refreshing;
  }

  /** Reads the places of all buckets as they are now. Never rejects. */
  async reread(): Promise<void> {
    await this.#refreshing;
    this.#readAtMs = Number.NEGATIVE_INFINITY;
    await this.refresh();
  }

  /** Connects to databases that cannot be reached, which then serve statements. Never rejects. */
  #probe(): void {
    for (const db of this.databases) {
      if (!db.unreachable || this.#probed.has(db)) continue;
      this.#probed.add(db);
      void db
        .probe(selectPlacement, [])
        .then(
          () => this.refresh(),
          (err) => this.#unreachable(db, err),
        )
        .finally(() => this.#probed.delete(db));
    }
  }

  #unreachable({ number }: Database, err: unknown): void {
    this.#log.warn({ event: "log_database_unreachable", database: number + 1, err });
  }

  /**
   * The placement of each database; undefined for one that does not answer. A bucket that moves
   * meanwhile may appear in two databases or in none; then all databases are read once more.
   */
  async #read(): Promise<(Placement | undefined)[]> {
    const placements = await this.#readOnce();
    const known = placements.filter((placement) => placement !== undefined);
    const isWhole = known.length < placements.length || missingIn(known) === 0;
    return isWhole && doubled(known) === undefined ? placements : this.#readOnce();
  }

  async #readOnce(): Promise<(Placement | undefined)[]> {
    // Failures of these are logged by their probes.
    const away = new Set(this.databases.filter((db) => db.unreachable));
    const settled = await Promise.allSettled(
      this.databases.map((db) => this.#inTime(readPlacement(db))),
    );
    this.#readAtMs = this.#clock.elapsed();
    for (const [at, one] of settled.entries()) {
      const db = this.databases[at]!;
      if (one.status === "rejected" && !away.has(db)) this.#unreachable(db, one.reason);
    }
    return settled.map((one) => (one.status === "fulfilled" ? one.value : undefined));
  }

  /** A database that does not answer keeps its buckets, except those that another database has now. */
  #place(placements: readonly (Placement | undefined)[]): void {
    const places = new Array<Database | undefined>(BUCKETS).fill(undefined);
    for (const [bucket, database] of this.#places.entries())
      if (database !== undefined && placements[database.number] === undefined)
        places[bucket] = database;
    for (const [at, placement] of placements.entries())
      for (const bucket of placement?.here ?? []) places[bucket] = this.databases[at];
    const known = placements.filter((placement) => placement !== undefined);
    const bucket = doubled(known);
    if (bucket !== undefined) {
      // Never write to a bucket in two databases.
      this.#log.error({ event: "bucket_in_two_databases", bucket });
      const counts = countByBucket(known);
      for (let at = 0; at < BUCKETS; at++) if (counts[at]! > 1) places[at] = undefined;
    }
    this.#places = places;
  }
}

/** Whether another attempt of the work may succeed. */
const isRepeatable = (error: unknown) => isForeignBucket(error) || isConflict(error);

/** The error for callers when the last attempt failed, too. */
const gaveUp = (error: unknown) =>
  (isConflict(error) && databaseUnavailable(error)) || moving(error);

/** The error of the first failure, if there is one. */
export function throwFirst(failures: readonly Failure<unknown>[]): void {
  const [first] = failures;
  if (first !== undefined) throw first.error;
}

/** The error for callers while a bucket moves or its database is unreachable. */
export function moving(cause?: unknown): Error {
  const text = "the conversation is moving to another database, or its database cannot be reached";
  return fail(ErrorReason.UNAVAILABLE, text, { retryAfterMs: MOVING_RETRY_MS, cause });
}
