import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { createLog } from "#platform/log.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { Conversations } from "../conversations/conversations.ts";
import { Outbox } from "../delivery/outbox.ts";
import { Logs } from "../log/logs.ts";
import { News, type NewsOptions } from "./news.ts";
import { sweep } from "./sweep.ts";

const { pool } = await startTestPostgres({ after });
const clock = new ManualClock();
const logs = new Logs({ pools: [pool], clock, log: quiet, answerMs: 2_000 });
await logs.start();
const db = logs.databases[0]!;

/** Interval of the news, ms. */
const INTERVAL_MS = 30_000;

const open = (options: Partial<NewsOptions> = {}) =>
  new News({
    db,
    clock,
    log: quiet,
    intervalMs: INTERVAL_MS,
    maxConversations: 10_000,
    historyChanged() {},
    ...options,
  });

/** Stores news in one transaction: `rows` rows of `each` conversations, ascending from `first`. */
const store = (first: number, rows: number, each = 1) =>
  pool.query(
    `INSERT INTO im.news (conversation_ids, last_sequences)
     SELECT array_agg(c), array_agg(1)
       FROM generate_series($1::int, $1::int + $2::int * $3::int - 1) c
      GROUP BY (c - $1::int) / $3::int`,
    [first, rows, each],
  );

const storeMember = (groupId: number, userId: number) =>
  pool.query(
    `INSERT INTO im.news (conversation_ids, last_sequences, member_conversation_ids, member_ids)
     VALUES ('{}', '{}', ARRAY[$1::bigint], ARRAY[$2::bigint])`,
    [groupId, userId],
  );

/** Stores outbox rows of `each` conversations. */
const queue = (rows: number, each: number) =>
  pool.query(
    `INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms,
                            next_attempt_at_ms)
     SELECT c / $2::int + 1, array_agg(c), array_agg(0), array_agg(1), 0, 0
       FROM generate_series(0, $1::int * $2::int - 1) c GROUP BY c / $2::int`,
    [rows, each],
  );

const countNews = async () => {
  const { rows } = await pool.query(
    `SELECT count(*)::int AS rows, max(cardinality(conversation_ids)) AS conversations,
            sum(cardinality(conversation_ids))::int AS told, max(cardinality(member_ids)) AS members
       FROM im.news WHERE cardinality(conversation_ids) + cardinality(member_ids) > 0`,
  );
  return rows[0];
};

beforeEach(() => pool.query("DELETE FROM im.news; DELETE FROM im.outbox"));

test("a request for all kept news is refused while some of it is evicted", async () => {
  for (const storeOne of [(n: number) => store(n, 1), (n: number) => storeMember(7, n)]) {
    await pool.query("DELETE FROM im.news");
    const news = open({ maxConversations: 3 });
    for (const n of [1, 2, 3]) await storeOne(n);
    const start = await news.read();
    const all = news.since(undefined)!;
    assert.equal(all.conversations.size + all.members.length, 3);
    for (const n of [4, 5]) await storeOne(n);
    await news.read();
    assert.equal(news.since(undefined), undefined);
    const later = news.since(start)!;
    assert.equal(later.conversations.size + later.members.length, 2);
  }
});

test("all rows of one transaction are read, in several pages", async () => {
  const news = open();
  const start = await news.read();
  await store(1, 350);
  await news.read();
  assert.equal(news.since(start)!.conversations.size, 350);
});

test("a read stops at its limit, and the next read continues after the skipped news", async () => {
  const news = open({ maxConversations: 500 });
  const start = await news.read();
  await store(1, 300, 4);
  const cut = await news.read();
  assert.deepEqual([news.since(start), news.since(undefined)], [undefined, undefined]);
  await store(2_001, 1);
  await news.read();
  assert.deepEqual([...news.since(cut)!.conversations.keys()], ["2001"]);
});

test("unconfirmed batches are returned up to a maximum number of conversations", async () => {
  const news = open();
  await queue(150, 10);
  const start = await news.read();
  assert.equal(news.since(start)!.conversations.size, 1_500);
  await pool.query("DELETE FROM im.outbox");
  await queue(310, 500);
  await news.read();
  assert.ok(news.since(start) === undefined);
});

test("an unconfirmed batch with any id is told", async () => {
  await pool.query(
    `INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms,
                            next_attempt_at_ms)
     VALUES (-7, '{3}', '{0}', '{1}', 0, 0), (0, '{4}', '{0}', '{2}', 0, 0)`,
  );
  const news = open();
  const position = await news.read();
  assert.deepEqual(
    [...news.since(position)!.conversations],
    [
      ["3", 1n],
      ["4", 2n],
    ],
  );
  await pool.query("DELETE FROM im.outbox");
});

test("the deletion of many outbox rows stores rows of at most 1,000 items", async () => {
  const news = open();
  const start = await news.read();
  const outbox = new Outbox({ db, clock, log: quiet, deleteLingerMs: 1 });
  await queue(20, 500);
  await pool.query(
    `UPDATE im.outbox SET member_ids = ARRAY(SELECT generate_series(1, 2500)) WHERE outbox_id = 1`,
  );
  for (let id = 1; id <= 20; id++) outbox.confirmed(String(id));
  await outbox.flush();
  const stored = await countNews();
  assert.deepEqual(stored, { rows: 13, conversations: 1_000, told: 10_000, members: 1_000 });
  await news.read();
  const { conversations, members } = news.since(start)!;
  assert.deepEqual([conversations.size, members.length], [10_000, 2_500]);
});

test("while a transaction stays open, news is deleted and a warning is logged once", async () => {
  const events: { event: string }[] = [];
  const stream = { write: (line: string) => void events.push(JSON.parse(line)) };
  const log = createLog({ service: "test", instanceId: "test", level: "warn", stream });
  const news = open({ log });
  news.start();
  const long = await pool.connect();
  await long.query("BEGIN; SELECT pg_current_xact_id()");
  await store(1, 1);
  const before = await news.read();
  assert.deepEqual([...news.since(before)!.conversations.keys()], ["1"]);
  for (let interval = 0; interval < 6; interval++) {
    clock.advance(INTERVAL_MS);
    await news.read();
    while (interval >= 4 && (await countNews()).rows > 0) await news.read();
  }
  const during = await news.read();
  assert.deepEqual(during, before);
  assert.equal(news.since(during), undefined);
  await long.query("COMMIT");
  long.release();
  const position = await news.read();
  assert.equal(news.since(position)!.conversations.size, 0);
  news.stop();
  assert.deepEqual(
    events.map(({ event }) => event),
    ["transaction_too_long"],
  );
});

test("a sweep of many conversations evicts nothing from the cache of the appends", async () => {
  await pool.query(`
    INSERT INTO im.conversation (conversation_id, kind, member_count, created_at_ms)
      SELECT n, 1, 2, 0 FROM generate_series(1, 100) n;
    INSERT INTO im.member (conversation_id, user_id, kind)
      SELECT n, u, 1 FROM generate_series(1, 100) n, generate_series(1, 2) u`);
  const conversations = new Conversations({ logs, clock, memberships: 10 });
  const byDatabase = new Map([[db, open()]]);
  await store(1, 100);
  for (const conversationId of ["1", "2"])
    await conversations.read([{ conversationId, userId: "1" }]);
  for (let round = 0; round < 2; round++) {
    const swept = await sweep(
      { logs, conversations, news: byDatabase },
      { userIds: ["1"], cursor: "" },
    );
    assert.equal(swept.changes.length, 100);
    for (const id of ["1", "2"]) assert.ok(conversations.peek(id)?.memberships.has("1"), id);
  }
});
