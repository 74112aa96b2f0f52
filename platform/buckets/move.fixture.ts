import assert from "node:assert/strict";
import pg from "pg";
import { appendEntries } from "../../services/server/sending/append.ts";
import { BUCKETS, bucketOfGroup, bucketOfPair } from "./bucket.ts";

/** The id of the n-th conversation of a bucket. */
export const idOf = (bucket: number, n: number): string => String(n * BUCKETS + bucket);

/** The users of a direct conversation in the bucket. */
export function pairIn(bucket: number): { low: number; high: number } {
  for (let high = 2; ; high++)
    if (bucketOfPair("1", String(high)) === bucket) return { low: 1, high };
}

/** A client_group_id of user 1 in the bucket. */
function groupKeyIn(bucket: number): string {
  for (let n = 0; ; n++) if (bucketOfGroup("1", `group-${n}`) === bucket) return `group-${n}`;
}

/** Writes rows of every kind into a bucket: a pair, a group with a key, and a group without entries. */
export async function fill(db: pg.Pool, bucket: number): Promise<void> {
  const [direct, group, empty] = [idOf(bucket, 1), idOf(bucket, 2), idOf(bucket, 3)];
  const { low, high } = pairIn(bucket);
  await db.query(`
    INSERT INTO im.conversation (conversation_id, kind, name, member_count, member_version, last_sequence,
                                 last_countable, created_at_ms)
    VALUES (${direct}, 1, '', 2, 1, 30, 30, 7), (${group}, 2, E'tab\\t \\\\ line\\n', 2, 5, 12, 9, 8),
           (${empty}, 2, 'empty', 1, 2, 0, 0, 9);
    INSERT INTO im.member (conversation_id, user_id, kind, role, left_sequence, delivered_sequence, read_sequence)
    VALUES (${direct}, ${low}, 1, 1, 0, 30, 12), (${direct}, ${high}, 1, 1, 0, 4, 3),
           (${group}, 1, 2, 3, 0, 12, 12), (${group}, 2, 2, 1, 0, 0, 0), (${group}, 3, 2, 1, 7, 5, 5),
           (${empty}, 1, 2, 3, 0, 0, 0);
    INSERT INTO im.direct VALUES (${low}, ${high}, ${direct});
    INSERT INTO im.group_key VALUES (1, '${groupKeyIn(bucket)}', ${group});
    INSERT INTO im.entry
    SELECT c.conversation_id, s, c.conversation_id + s, 1, CASE WHEN s > 3 THEN s::text END, 1, s, 5,
           decode(md5(s::text), 'hex')
      FROM im.conversation c, generate_series(1, c.last_sequence) AS s
     WHERE c.conversation_id IN (${direct}, ${group}, ${empty});
    INSERT INTO im.change VALUES (${direct}, 29, 28), (${direct}, 30, 28);
    INSERT INTO im.message_state VALUES (${direct}, 4, 29, false, 1, 0, 'edited'),
                                        (${direct}, 6, 30, true, 0, 0, 'recalled');
    INSERT INTO im.revision VALUES (${direct}, 4, 0, 29, 5, 'before');
    INSERT INTO im.reaction VALUES (${direct}, 4, ${low}, '👍', 28);
    INSERT INTO im.withdrawn VALUES (${direct}, 6, 1);
    INSERT INTO im.mention VALUES (${direct}, ${high}, 4, 1);
    INSERT INTO im.hidden VALUES (${direct}, ${high}, 7, true)`);
}

/** The tables with rows of conversations. */
const TABLES = [
  ...["conversation", "member", "direct", "group_key", "entry"],
  ...["change", "message_state", "revision", "reaction", "withdrawn", "mention", "hidden"],
];

/**
 * All rows of a bucket, without the columns that a move changes: transaction ids are left out, and
 * `increase` is subtracted from the member versions.
 */
export async function rowsOf(db: pg.Pool, bucket: number, increase = 0): Promise<unknown> {
  const found: Record<string, unknown> = {};
  for (const table of TABLES) {
    const { rows } = await db.query<{ row: Record<string, unknown> }>(
      `SELECT to_jsonb(t) - 'changed_by' AS row FROM im.${table} t
        WHERE (conversation_id & 1023) = $1 ORDER BY to_jsonb(t)::text`,
      [bucket],
    );
    found[table] = rows
      .map(({ row }) =>
        "member_version" in row
          ? { ...row, member_version: Number(row.member_version) - increase }
          : row,
      )
      .map((row) => JSON.stringify(row))
      .sort();
  }
  return found;
}

/** The state of a bucket in each database. */
export async function statesOf(logs: readonly pg.Pool[], bucket: number): Promise<number[]> {
  const states: number[] = [];
  for (const db of logs) {
    const { rows } = await db.query("SELECT state FROM im.bucket WHERE bucket = $1", [bucket]);
    states.push(rows[0].state);
  }
  return states;
}

/**
 * Writes to a bucket like a server, which caches the database and the member version. Creates groups,
 * appends to the first one, and moves its owner's cursor.
 */
export class Writer {
  /** Accepted messages: the sequence of each key. */
  readonly accepted = new Map<string, number>();
  readonly #logs: readonly pg.Pool[];
  readonly #conversation: string;
  readonly #n: number;
  #db: pg.Pool;
  #version = "0";
  #stopped = false;
  #read = 0;

  constructor(logs: readonly pg.Pool[], { bucket, n }: { bucket: number; n: number }) {
    this.#logs = logs;
    this.#db = logs[0]!;
    this.#n = n;
    this.#conversation = idOf(bucket, 100 + n);
  }

  stop(): void {
    this.#stopped = true;
  }

  async run(): Promise<void> {
    for (let message = 0; !this.#stopped; message++) {
      if (message % 10 === 0) await this.#createGroup(message);
      const key = `${this.#n}-${message}`;
      let sequence = await this.#append(key, message);
      while (sequence === undefined && !this.#stopped) {
        await this.#readVersion();
        sequence = await this.#append(key, message);
      }
      if (sequence === undefined) return;
      this.accepted.set(key, sequence);
      await this.#advance(sequence);
    }
  }

  /** Throws unless the database has every accepted message once, at its sequence, and the last cursor. */
  async check(db: pg.Pool): Promise<void> {
    const { rows } = await db.query<{ key: string; sequence: string }>(
      "SELECT client_message_id AS key, sequence FROM im.entry WHERE conversation_id = $1",
      [this.#conversation],
    );
    const stored = new Map(rows.map(({ key, sequence }) => [key, Number(sequence)]));
    assert.equal(stored.size, rows.length);
    for (const [key, sequence] of this.accepted) assert.equal(stored.get(key), sequence);
    const member = await db.query(
      "SELECT read_sequence FROM im.member WHERE conversation_id = $1",
      [this.#conversation],
    );
    assert.deepEqual(member.rows, [{ read_sequence: String(this.#read) }]);
    const groups = await db.query("SELECT FROM im.conversation WHERE conversation_id = ANY ($1)", [
      this.#groups,
    ]);
    assert.equal(groups.rowCount, this.#groups.length);
  }

  readonly #groups: string[] = [];

  /** The first group gets the messages. */
  async #createGroup(message: number): Promise<void> {
    const id = String(BigInt(this.#conversation) + BigInt(message * 100 * BUCKETS));
    await this.#write(
      `WITH made AS (
         INSERT INTO im.conversation (conversation_id, kind, member_count, created_at_ms)
         SELECT $1, 2, 1, 0 WHERE im.owns(ARRAY[$1::bigint]) RETURNING conversation_id)
       INSERT INTO im.member (conversation_id, user_id, kind) SELECT conversation_id, 1, 2 FROM made`,
      [id],
    );
    this.#groups.push(id);
  }

  async #advance(sequence: number): Promise<void> {
    await this.#write(
      `UPDATE im.member SET read_sequence = $2, changed_by = pg_current_xact_id()
        WHERE conversation_id = $1 AND im.owns(ARRAY[$1::bigint])`,
      [this.#conversation, sequence],
    );
    this.#read = sequence;
  }

  async #readVersion(): Promise<void> {
    const [row] = await this.#write<{ member_version: string }>(
      "SELECT member_version FROM im.conversation WHERE conversation_id = $1 AND im.owns(ARRAY[$1::bigint])",
      [this.#conversation],
    );
    this.#version = row!.member_version;
  }

  /** Runs a statement that checks the bucket; retries it in the database that has the bucket. */
  async #write<R extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<R[]> {
    for (;;) {
      try {
        return (await this.#db.query<R>(text, values)).rows;
      } catch (error) {
        if (!(error instanceof pg.DatabaseError && error.code === "LK001")) throw error;
        this.#db = this.#logs.find((db) => db !== this.#db)!;
      }
    }
  }

  /** Appends a message; undefined when the member version is stale. */
  async #append(key: string, message: number): Promise<number | undefined> {
    const id = this.#n * 1_000_000 + message;
    const { rows } = await this.#db.query<{ bases: string | null }>(appendEntries.text, [
      ...[[this.#conversation], [this.#version], [1], [0], [id], [1], [1]],
      ...[[1, 1 + key.length], [1], [key.length], Buffer.from(key), 0, id, 0],
    ]);
    const { bases } = rows[0]!;
    return bases === null ? undefined : Number(bases) + 1;
  }
}
