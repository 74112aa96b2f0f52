import assert from "node:assert/strict";
import { once } from "node:events";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import type { PoolClient } from "../log/database.ts";
import { PAGE_BYTES } from "../log/entries.ts";
import { accepted, Stand, say, untilOutboxEmpty } from "../server.fixture.ts";
import { textOf } from "../subscriber.fixture.ts";
import { syncAll } from "./sync.fixture.ts";
import { fit } from "./sync.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("Sync and the sweep return a change that a long transaction commits late", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("112", "111", "m")))[0]);
  await one.append(say("113", "111", "m"));

  const long = await pool.connect();
  await long.query("BEGIN");
  await long.query(
    `UPDATE im.conversation SET last_sequence = 2, last_countable = 2,
                                changed_by = pg_current_xact_id() WHERE conversation_id = $1`,
    [conversationId],
  );
  await long.query(
    `INSERT INTO im.entry SELECT conversation_id, 2, message_id + 1, sender_id, 'late', kind, 2,
       accepted_at_ms, body FROM im.entry WHERE conversation_id = $1`,
    [conversationId],
  );
  await long.query(
    `INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms,
                            next_attempt_at_ms)
     VALUES (111, ARRAY[$1::bigint], ARRAY[1], ARRAY[1], 0, 9000000000000000)`,
    [conversationId],
  );
  const swept = await one.ingress.sweep({ userIds: ["111"] });
  // The change is older than changes that this run tells.
  await one.append(say("114", "111", "m"));
  const during = await syncAll(one, "111");
  await long.query("COMMIT");
  long.release();
  const afterwards = await syncAll(one, "111", during.cursor);
  const found = afterwards.conversations.find((c) => c.conversationId === conversationId);
  assert.equal(found?.lastSequence, 2n);
  const { changes } = await one.ingress.sweep({ userIds: ["111"], cursor: swept.nextCursor });
  assert.equal(changes.find((c) => c.conversationId === conversationId)?.lastSequence, 2n);
});

test("a run of pages that a crash of PostgreSQL interrupts misses no change", async (t) => {
  const one = await new Stand(t, pool).server();
  const sent = await one.append(...["122", "123", "124"].map((peer) => say(peer, "121", "m")));
  const { conversationId } = accepted(sent[2]);
  const { nextCursor } = await one.messages("121").sync({ cursor: "", pageSize: 1 });
  // The end of the run is above ids that PostgreSQL gives again after the crash.
  const cursor = nextCursor.replace(/\d+$/, (end) => String(BigInt(end) + 50n));
  const long = await pool.connect();
  await long.query("BEGIN");
  await long.query(
    "UPDATE im.conversation SET changed_by = pg_current_xact_id() WHERE conversation_id = $1",
    [conversationId],
  );
  await one.append(say("122", "121", "n"));
  const during = await syncAll(one, "121", cursor);
  await long.query("COMMIT");
  long.release();
  const { conversations } = await syncAll(one, "121", during.cursor);
  assert.ok(conversations.some((found) => found.conversationId === conversationId));
});

test("servers with wrong clocks hide no change from Sync", async (t) => {
  const hourMs = 3_600_000;
  // Its clock holds local time: eight hours ahead.
  const ahead = new Stand(t, pool);
  ahead.clock.advance(8 * hourMs);
  const [fast, right] = [await ahead.server(), await new Stand(t, pool).server()];
  await fast.append(say("162", "161", "ahead"));
  let cursor = (await syncAll(fast, "161")).cursor;
  for (const [server, text] of [
    [right, "right"],
    [fast, "ahead-again"],
    [right, "right-again"],
  ] as const) {
    await server.append(say("162", "161", text));
    const next = await syncAll(fast, "161", cursor);
    assert.deepEqual(
      next.conversations.map(({ lastEntry }) => textOf(lastEntry!)),
      [text],
    );
    cursor = next.cursor;
  }
});

test("Sync pages over conversations whose ids have 19 digits", async (t) => {
  const stand = new Stand(t, pool);
  stand.clock.advance(Date.UTC(2033, 0, 1) - stand.clock.now());
  const one = await stand.server();
  const peers = Array.from({ length: 9 }, (_, i) => `${1_710 + i}`);
  await one.append(...peers.map((peer) => say(peer, "1701", "m")));
  const { conversations } = await syncAll(one, "1701", "", 2);
  assert.ok(conversations.every(({ conversationId }) => conversationId.length === 19));
  assert.deepEqual(conversations.map(({ peerUserId }) => peerUserId).toSorted(), peers);
});

test("a cursor that is not from this history of the log starts from the beginning", async (t) => {
  const one = await new Stand(t, pool).server();
  await one.append(say("172", "171", "m"), say("173", "171", "m"));
  const { cursor } = await syncAll(one, "171");
  const [history, change] = cursor.split(".");
  assert.deepEqual((await syncAll(one, "171", cursor)).conversations, []);
  const foreign = {
    "of another database": `7000000000000000000-00000001.${change}`,
    "of another timeline": `${history!.slice(0, -1)}9.${change}`,
    "ahead of the log": `${history}.${BigInt(change!) + 1_000_000n}`,
    "with a transaction id out of range": `${history}.99999999999999999999`,
    "of an earlier version": "1767225600000",
    "of an earlier version, within a run": "1767225600000.1767225600000.123",
    "other text": "\u00e9 / ' \" % .",
    "of 4,096 characters": "9".repeat(4_096),
    "within a run, ahead": `${history}.${BigInt(change!) + 1_000_000n}/1/${change}`,
  };
  for (const [name, from] of Object.entries(foreign)) {
    const { conversations, cursor: next } = await syncAll(one, "171", from, 1);
    assert.equal(conversations.length, 2, name);
    assert.deepEqual((await syncAll(one, "171", next)).conversations, [], name);
  }
});

test("after a crash of PostgreSQL, no change is older than a cursor from before it", async (t) => {
  // PostgreSQL's log writer must not save the ends of the transactions that lose their ids below.
  await pool.query("ALTER SYSTEM SET wal_writer_delay = '10s'");
  await pool.query("SELECT pg_reload_conf()");
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("182", "181", "before")))[0]);
  // replay() waits for the first poll of the outbox: nothing is committed after it.
  await one.server.replay();
  const client = await pool.connect();
  client.on("error", () => {});
  await rollBackHundred(client);
  const synced = await syncAll(one, "181");
  const swept = await one.ingress.sweep({ userIds: ["181"] });
  const cursor = { full: synced.cursor, empty: (await syncAll(one, "181", synced.cursor)).cursor };
  const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
  const broken = once(client, "error");
  process.kill(rows[0].pid, "SIGKILL");
  await broken;
  client.release(true);
  while (pool.totalCount > 0) await new Promise(setImmediate);
  while (!(await answers()));

  assert.equal(accepted((await one.append(say("182", "181", "after")))[0]).sequence, 2);
  await untilOutboxEmpty(stand);
  // Transactions as many as before the crash: the cursors are no longer ahead of the log.
  const again = await pool.connect();
  await rollBackHundred(again);
  again.release();
  for (const [name, from] of Object.entries(cursor)) {
    const found = (await syncAll(one, "181", from)).conversations;
    assert.deepEqual(
      found.map(({ lastEntry }) => textOf(lastEntry!)),
      ["after"],
      name,
    );
  }
  const { changes } = await one.ingress.sweep({ userIds: ["181"], cursor: swept.nextCursor });
  assert.deepEqual(
    changes.map((change) => [change.conversationId, change.lastSequence]),
    [[conversationId, 2n]],
  );
});

/** Rolls back transactions whose ends PostgreSQL writes to the disk later. */
async function rollBackHundred(client: PoolClient): Promise<void> {
  for (let i = 0; i < 100; i++) await client.query("BEGIN; SELECT pg_current_xact_id(); ROLLBACK");
}

/** Whether PostgreSQL has recovered from its crash. */
function answers(): Promise<boolean> {
  return pool.query("SELECT").then(
    () => true,
    () => false,
  );
}

test("a page of 32 databases with the largest entries has at most 1 MiB of them", () => {
  const body = new Uint8Array(66_000);
  const rows = [body, body, body].map((one) => ({ body: one }));
  const share = { rows: 7, bytes: PAGE_BYTES / 32 };
  let left = PAGE_BYTES;
  const counts: number[] = [];
  for (let nth = 0; nth < 32; nth++) {
    const count = fit(rows, { ...share, most: left });
    counts.push(count);
    left -= count * body.length;
  }
  // Each database has a turn while there is room, although its row is larger than its share.
  assert.deepEqual(new Set(counts.slice(0, 15)), new Set([1]));
  assert.deepEqual(new Set(counts.slice(15)), new Set([0]));
  assert.ok(left >= 0);
  assert.equal(fit(rows, { rows: 0, bytes: share.bytes, most: PAGE_BYTES }), 0);
  assert.equal(fit(rows, { rows: 7, bytes: PAGE_BYTES, most: PAGE_BYTES }), 3);
});
