import type { Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { setTimeout } from "node:timers/promises";
import pg from "pg";
import { copyIn, copyQuery } from "#platform/backup/copy.ts";
import type { Table } from "#platform/backup/format.ts";
import type { Log } from "#platform/log.ts";
import { EntryCopy } from "./entry-copy.ts";
import { cleanUp, flipVersions, rollBack } from "./finish.ts";
import { type LockedLog, onFurtherConnection } from "./locked-logs.ts";
import {
  createIndexes,
  IN_BUCKET,
  type MovedTables,
  mustMatch,
  readTables,
} from "./moved-tables.ts";
import { mustMatchPairs } from "./pairs.ts";
import { BucketState } from "./placement.ts";
import { type BucketNews, copyUnpublished, readNews } from "./unpublished.ts";

/** Steps of a move. A move that ends after any of them can be resumed. */
export type MoveStep = "prepared" | "copied" | "fenced" | "switched" | "cleaned";

export interface MoveOptions {
  readonly from: LockedLog;
  readonly to: LockedLog;
  readonly buckets: readonly number[];
  /** Aborts while entries are copied, and between two buckets. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Maximum silence of the target during the switch, ms; a minute when absent. */
  readonly silenceTimeoutMs?: number;
  /** Called after each step of each bucket. An error ends the move there. */
  readonly onStep?: (step: MoveStep, bucket: number) => Promise<void> | void;
}

/** A round that copied at most this number of entries is the last one before the fence. */
const SMALL_ROUND_ENTRIES = 500;
/** Maximum rounds; all remaining entries are then copied behind the fence. */
const MAX_ROUNDS = 10;
/**
 * Maximum time in which an attempt of the fence waits for each of its two locks, ms. Further writers wait
 * behind it. Some of them hold the other lock: the attempt must end before PostgreSQL finds a deadlock,
 * after 1 s (deadlock_timeout).
 */
const LOCK_TIMEOUT_MS = 100;
/** Pause after an attempt, ms: this one to twice as long. */
const LOCK_PAUSE_MS = 400;
/** Maximum time of all attempts, ms. */
const FENCE_TIMEOUT_MS = 120_000;
/** Number of attempts after which a warning is logged, each time. */
const WARN_ATTEMPTS = 20;
/**
 * Maximum silence of the target during the switch, ms. TCP waits 15 minutes for a target that vanishes
 * while rows are on their way, and the bucket is fenced.
 */
const SILENCE_TIMEOUT_MS = 60_000;

/**
 * Moves buckets one after the other from a database to another one, while messages flow. Both must be
 * locked by `lockLogs` and have no unfinished move. When it throws, a move may be unfinished:
 * `resumeMoves` completes it or rolls it back, on new connections if these are broken.
 *
 * Throws an error for operators when a bucket is not in the source, and when conversations of
 * an earlier version are not in the bucket of their key; then nothing was moved.
 */
export async function moveBuckets(options: MoveOptions): Promise<void> {
  const { from, to, buckets, signal } = options;
  const source = from.client;
  if (from.number === to.number)
    throw new Error(`Database ${to.number} is both the source and the target.`);
  await mustHave(from, buckets);
  await mustMatchPairs(source, buckets);
  const tables = await readTables(source);
  mustMatch(tables, await readTables(to.client));
  await createIndexes(source, tables);
  for (const bucket of buckets) {
    signal.throwIfAborted();
    await moveBucket({ ...options, bucket, tables });
  }
}

interface BucketMove extends MoveOptions {
  readonly bucket: number;
  readonly tables: MovedTables;
}

async function moveBucket(move: BucketMove): Promise<void> {
  const { from, to, bucket, tables, signal, log, onStep } = move;
  const [source, target] = [from.client, to.client];
  const startedAt = performance.now();
  await setState(target, { bucket, from: BucketState.ELSEWHERE, to: BucketState.ARRIVING });
  await onStep?.("prepared", bucket);

  const copy = new EntryCopy({ source, target, entries: tables.entries, bucket });
  let entries = 0;
  for (let round = 1; round <= MAX_ROUNDS; round++) {
    const copied = await copy.round(signal);
    entries += copied;
    if (copied <= SMALL_ROUND_ENTRIES) break;
  }
  await copy.verify();
  const news = await readNews(source, { bucket });
  await onStep?.("copied", bucket);

  const fencedAt = await fence(move);
  await onStep?.("fenced", bucket);
  await switchOver(move, { copy, news });
  const fencedMs = Math.round(performance.now() - fencedAt);
  await onStep?.("switched", bucket);
  await cleanUp(source, { bucket, tables, signal });
  const totalMs = Math.round(performance.now() - startedAt);
  log.info({
    event: "bucket_moved",
    bucket,
    from: from.number,
    to: to.number,
    entries,
    fencedMs,
    totalMs,
  });
  await onStep?.("cleaned", bucket);
}

async function mustHave({ client, number }: LockedLog, buckets: readonly number[]): Promise<void> {
  const { rows } = await client.query<{ bucket: number }>(
    `SELECT i.bucket FROM unnest($1::int[]) AS i(bucket)
      WHERE NOT EXISTS (SELECT FROM im.bucket b WHERE b.bucket = i.bucket
                           AND b.state = ${BucketState.HERE}) LIMIT 1`,
    [buckets],
  );
  if (rows.length > 0) throw new Error(`Bucket ${rows[0]!.bucket} is not in database ${number}.`);
}

/** Changes the state of a bucket. Throws when it has another one. */
async function setState(
  client: pg.Client,
  { bucket, from, to }: { readonly bucket: number; readonly from: number; readonly to: number },
): Promise<void> {
  const { rowCount } = await client.query(
    "UPDATE im.bucket SET state = $3 WHERE bucket = $1 AND state = $2",
    [bucket, from, to],
  );
  if (rowCount !== 1)
    throw new Error(`The state of bucket ${bucket} in the target is no longer ${from}.`);
}

/**
 * Refuses all later writes to the bucket; returns the start of the successful attempt
 * (`performance.now`). The lock waits for running write transactions, and statements that wait for the
 * lock read the new state. All statements under the lock are one message, so it is not held during a
 * round trip. Appends do not read the state: they compare the member versions, which are made negative
 * afterwards, page by page.
 */
async function fence({ from, bucket, signal, log }: BucketMove): Promise<number> {
  const firstAt = performance.now();
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    const startedAt = performance.now();
    try {
      await from.client.query(`
        SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS};
        LOCK TABLE im.conversation, im.member IN EXCLUSIVE MODE;
        UPDATE im.bucket SET state = ${BucketState.MOVING}
         WHERE bucket = ${bucket} AND state = ${BucketState.HERE}`);
      await flipVersions(from.client, { bucket, to: "negative" });
      return startedAt;
    } catch (error) {
      // A lock that was not free in time, or a deadlock.
      const isBusy = error instanceof pg.DatabaseError && /^(55P03|40P01)$/.test(error.code ?? "");
      if (!isBusy) throw error;
      if (attempt % WARN_ATTEMPTS === 1)
        log.warn({ event: "bucket_fence_waits", bucket, database: from.number, attempt });
      if (startedAt - firstAt >= FENCE_TIMEOUT_MS)
        throw new Error(
          `Bucket ${bucket} cannot be fenced: transactions on im.conversation or im.member of database ${from.number} take too long.`,
          { cause: error },
        );
    }
    // Random, so that the attempts do not meet the same periodic work each time.
    await setTimeout(LOCK_PAUSE_MS * (1 + Math.random()), undefined, { signal });
  }
}

/**
 * Makes the target the owner, in one transaction: the last and the changed entries, all other rows,
 * unpublished batches and the epoch. Before the commit it checks that the source still has the same rows. An error before the
 * commit gives the bucket back to the source.
 */
async function switchOver(
  move: BucketMove,
  { copy, news }: { readonly copy: EntryCopy; readonly news: BucketNews },
): Promise<void> {
  const { from, to, bucket, tables } = move;
  const [source, target] = [from.client, to.client];
  let isCommitting = false;
  const unlimit = limitSilence(to, move.silenceTimeoutMs ?? SILENCE_TIMEOUT_MS);
  try {
    await target.query("BEGIN");
    await copy.round();
    await copy.refresh();
    const counts: number[] = [];
    for (const table of tables.others) counts.push(await copyRows(move, table));
    await copyUnpublished(source, target, { bucket, known: news });
    await copy.mustBeComplete();
    for (const [at, { table }] of tables.others.entries())
      await mustCount(move, table, counts[at]!);
    const { rows } = await source.query<{ epoch: string }>(
      `SELECT epoch FROM im.bucket WHERE bucket = $1 AND state = ${BucketState.MOVING}`,
      [bucket],
    );
    if (rows.length === 0) throw new Error(`Bucket ${bucket} is no longer moving.`);
    await setState(target, { bucket, from: BucketState.ARRIVING, to: BucketState.HERE });
    await target.query("UPDATE im.bucket SET epoch = $2 WHERE bucket = $1", [
      bucket,
      rows[0]!.epoch,
    ]);
    isCommitting = true;
    await target.query("COMMIT");
  } catch (error) {
    // Only the target knows whether a commit without an answer has succeeded.
    if (!isCommitting) {
      await onFurtherConnection(from, (client) => rollBack(client, bucket)).catch(() => {});
      await target.query("ROLLBACK").catch(() => {});
    }
    throw error;
  } finally {
    unlimit();
  }
}

/** Breaks the connection after this silence, ms. Returns a function that ends this. */
function limitSilence({ number, client }: LockedLog, ms: number): () => void {
  const stream = client.connection.stream as Socket;
  const onTimeout = () =>
    stream.destroy(new Error(`Database ${number} did not answer in ${ms} ms.`));
  stream.setTimeout(ms, onTimeout);
  return () => void stream.setTimeout(0).off("timeout", onTimeout);
}

/** The rows of a table that belong to the bucket $1. */
const rowsOf = (table: string) =>
  `FROM (SELECT conversation_id FROM im.conversation WHERE ${IN_BUCKET} OFFSET 0) m
    CROSS JOIN LATERAL (SELECT * FROM ${table} WHERE conversation_id = m.conversation_id OFFSET 0) r`;

/** Copies the rows of a table; returns their number. Makes member versions positive, plus one. */
async function copyRows({ from, to, bucket }: BucketMove, table: Table): Promise<number> {
  const columns = table.columns.map((column) => {
    const name = `r.${pg.escapeIdentifier(column)}`;
    return column === "member_version" ? `1 - ${name}` : name;
  });
  const query = `SELECT ${columns.join(", ")} ${rowsOf(table.table)}`;
  const copy = copyIn(to.client, table);
  await pipeline(copyQuery(from.client, query.replaceAll("$1", String(bucket))), copy);
  return copy.rowCount;
}

/** Throws unless the source has `copied` rows in a table, all of them with negative member versions. */
async function mustCount(
  { from, bucket }: BucketMove,
  table: string,
  copied: number,
): Promise<void> {
  const fenced =
    table === "im.conversation" ? "count(*) FILTER (WHERE member_version < 0)" : "count(*)";
  const { rows } = await from.client.query<{ n: string }>(
    `SELECT ${fenced} AS n ${rowsOf(table)}`,
    [bucket],
  );
  if (Number(rows[0]!.n) !== copied)
    throw new Error(`${copied} rows of ${table} were copied, but the source has ${rows[0]!.n}.`);
}
