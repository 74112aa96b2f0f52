import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Client } from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { resetLog } from "#platform/backup/reset-log.ts";
import { bucketOf } from "#platform/buckets/bucket.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import {
  accepted,
  type RunningServer,
  refused,
  Stand,
  say,
  toConversation,
} from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

/** Interval of the news, ms; they are kept for four of them. */
const INTERVAL_MS = 30_000;

const sweep = async (server: RunningServer, userId: string, cursor: string) => {
  const swept = await server.ingress.sweep({ userIds: [userId], cursor });
  return {
    cursor: swept.nextCursor,
    changes: swept.changes.map(({ conversationId, lastSequence }) => [
      conversationId,
      Number(lastSequence),
    ]),
    groups: swept.groups.map(({ groupId, lastSequence }) => [groupId, Number(lastSequence)]),
    members: swept.memberUserIds,
  };
};

const outboxRows = async (): Promise<number> =>
  Number((await pool.query("SELECT count(*) FROM im.outbox")).rows[0].count);

/** Number of conversations in the news. */
const toldConversations = async (): Promise<number> => {
  const { rows } = await pool.query(
    "SELECT coalesce(sum(cardinality(conversation_ids)), 0) AS told FROM im.news",
  );
  return Number(rows[0].told);
};

test("a sweep returns the other conversations while one moves, and that one afterwards", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const start = await sweep(one, "301", "");
  const sent = await one.append(say("302", "301", "a"), say("303", "301", "a"));
  const [moving, other] = sent.map((result) => accepted(result).conversationId);
  const setState = (state: number) =>
    pool.query("UPDATE im.bucket SET state = $1 WHERE bucket = $2", [state, bucketOf(moving!)]);
  await setState(2);
  // The other server has neither conversation in its cache.
  const during = await sweep(two, "301", start.cursor);
  assert.deepEqual(during.changes, [[other, 1]]);
  await setState(1);
  // The place of a bucket that moves is read again after a while.
  stand.clock.advance(1_000);
  const afterwards = await sweep(two, "301", during.cursor);
  assert.ok(afterwards.changes.some(([id]) => id === moving));
});

test("a sweep returns what changed since its cursor, by any server, and nothing twice", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const start = await sweep(one, "201", "");
  const { conversationId } = accepted((await two.append(say("202", "201", "a")))[0]);
  await two.append(say("203", "204", "not for this user"));
  const first = await sweep(one, "201", start.cursor);
  assert.deepEqual(first.changes, [[conversationId, 1]]);
  // The bus confirms the batches, and their rows become news.
  await confirmAll(stand);
  const second = await sweep(two, "201", first.cursor);
  assert.deepEqual(second.changes, [[conversationId, 1]], "told again: it was confirmed since");
  const third = await sweep(one, "201", second.cursor);
  assert.deepEqual(third.changes, []);
  await two.append(say("202", "201", "b"));
  await confirmAll(stand);
  assert.deepEqual((await sweep(one, "201", third.cursor)).changes, [[conversationId, 2]]);
});

test("a sweep returns the changed groups for any users, and the users who joined or left", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("211").createGroup({ name: "g", userIds: ["212"] });
  const groupId = group!.groupId;
  await confirmAll(stand);
  const created = await sweep(one, "212", "");
  assert.deepEqual(created.changes, [[groupId, 1]]);
  assert.deepEqual(created.members, ["212"]);
  const from = { userId: "213", groupId };
  await one.groups("211").addMembers({ groupId, userIds: ["213"] });
  await one.append({ from: "211", to: toConversation(groupId), key: "k", text: "k" });
  await confirmAll(stand);
  const joined = await sweep(one, from.userId, created.cursor);
  assert.deepEqual(joined.members, ["213"]);
  assert.deepEqual(joined.changes, [[groupId, 3]]);
  assert.deepEqual(joined.groups, [[groupId, 3]]);
  const other = await sweep(one, "212", created.cursor);
  assert.deepEqual([other.members, other.changes, other.groups], [[], [], [[groupId, 3]]]);
});

test("a batch whose server died before it was published is in every sweep", async (t) => {
  const stand = new Stand(t, pool);
  await stand.instance("c1", ["u:221"]);
  stand.busOutage = "silent";
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("222", "221", "a")))[0]);
  await one.server.stop();
  const two = await stand.server();
  let cursor = "";
  for (let round = 0; round < 2; round++) {
    const swept = await sweep(two, "221", cursor);
    assert.deepEqual(swept.changes, [[conversationId, 1]]);
    cursor = swept.cursor;
  }
  stand.busOutage = "none";
});

test("a sweep returns an abandoned batch once, and once more after an operator has replayed it", async (t) => {
  const stand = new Stand(t, pool);
  await stand.instance("c2", ["u:224"]);
  stand.failingQueues.add("c2");
  const one = await stand.server({ outboxAttempts: 1 });
  const { conversationId } = accepted((await one.append(say("225", "224", "a")))[0]);
  const abandoned = async () => {
    const { rows } = await pool.query(
      "SELECT count(*)::int AS n FROM im.outbox WHERE next_attempt_at_ms IS NULL",
    );
    return rows[0].n as number;
  };
  while ((await abandoned()) === 0) stand.clock.advance(1_000);
  const first = await sweep(one, "224", "");
  assert.deepEqual(first.changes, [[conversationId, 1]]);
  const second = await sweep(one, "224", first.cursor);
  assert.deepEqual(second.changes, []);
  stand.failingQueues.clear();
  await one.server.replay();
  await confirmAll(stand);
  assert.deepEqual((await sweep(one, "224", second.cursor)).changes, [[conversationId, 1]]);
});

test("each call of a sweep for more than 5,000 users returns the changed groups", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("241").createGroup({ name: "g", userIds: ["242"] });
  const groupId = group!.groupId;
  await confirmAll(stand);
  const { cursor } = await sweep(one, "1", "");
  await one.append({ from: "241", to: toConversation(groupId), key: "k", text: "k" });
  // One of the users is a member. The calls are those of connect, with one cursor.
  const userIds = ["242", ...Array.from({ length: 10_000 }, (_, i) => `${300_000 + i}`)];
  const swept = async (from: number) => {
    const users = userIds.slice(from, from + 5_000);
    const { groups, changes } = await one.ingress.sweep({ userIds: users, cursor });
    return [...groups.map((changed) => changed.groupId), ...changes.map((c) => c.conversationId)];
  };
  const calls = [await swept(0), await swept(5_000), await swept(10_000)];
  assert.deepEqual(calls, [[groupId], [groupId], [groupId]]);
  await confirmAll(stand);
  assert.deepEqual(await swept(10_000), [groupId]);
  // The outbox is full: a call is answered by users. The next one is answered from the news.
  await pool.query(
    `INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms,
                            next_attempt_at_ms)
     SELECT n, '{1}', '{0}', '{1}', 0, 9000000000000000 FROM generate_series(1, 2100) n`,
  );
  assert.deepEqual([await swept(0), await swept(10_000)], [[groupId], []]);
  await pool.query("DELETE FROM im.outbox WHERE outbox_id <= 2100");
  assert.deepEqual(await swept(10_000), [groupId]);
});

test("news is deleted after four intervals, and an older cursor selects by users", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  await confirmAll(stand);
  const start = await sweep(one, "231", "");
  const { conversationId } = accepted((await one.append(say("232", "231", "a")))[0]);
  const { group } = await one.groups("232").createGroup({ name: "g", userIds: ["231"] });
  await confirmAll(stand);
  assert.ok((await toldConversations()) > 0);
  // The other servers of this database have their own clocks: only this stand's servers delete.
  for (let interval = 0; interval < 6; interval++) {
    stand.clock.advance(INTERVAL_MS);
    await Promise.all([sweep(one, "1", ""), sweep(two, "1", "")]);
    while (interval >= 4 && (await toldConversations()) > 0);
  }
  const late = await sweep(two, "231", start.cursor);
  const expected = [
    [conversationId, 1],
    [group!.groupId, 1],
  ].toSorted();
  assert.deepEqual(late.changes.toSorted(), expected);
  assert.deepEqual((await sweep(two, "231", late.cursor)).changes, []);
  for (const cursor of ["other text", "7000000000000000000-00000001.5", "1767225600000"]) {
    assert.deepEqual((await sweep(two, "231", cursor)).changes.toSorted(), expected, cursor);
  }
});

/** Waits until the bus has confirmed all batches, and their rows are news. */
async function confirmAll(stand: Stand): Promise<void> {
  while ((await outboxRows()) > 0) {
    stand.clock.advance(1_000);
    await new Promise(setImmediate);
  }
}

test("after a reset of the log a sweep tells another epoch, and the caches are empty", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const before = await one.ingress.sweep({ userIds: ["401"] });
  const { conversationId } = accepted((await one.append(say("402", "401", "m")))[0]);
  const { group } = await one.groups("402").createGroup({ name: "g", userIds: ["401", "403"] });
  const groupId = group!.groupId;
  const toGroup = (from: string, key: string) =>
    one.append({ from, to: toConversation(groupId), key, text: key });
  accepted((await toGroup("401", "m1"))[0]);
  const same = await two.ingress.sweep({ userIds: ["401"], cursor: before.nextCursor });
  assert.deepEqual(same.databases, before.databases);

  // The restored log lacks the direct conversation, and user 401 had not joined the group yet.
  const client = await pool.connect();
  await client.query("BEGIN");
  for (const table of ["outbox", "news"]) await client.query(`DELETE FROM im.${table}`);
  for (const table of ["entry", "member", "direct", "conversation"])
    await client.query(`DELETE FROM im.${table} WHERE conversation_id = $1`, [conversationId]);
  await client.query("DELETE FROM im.member WHERE conversation_id = $1 AND user_id = 401", [
    groupId,
  ]);
  await resetLog(client as unknown as Client);
  await client.query("COMMIT");
  client.release();

  const after = await one.ingress.sweep({ userIds: ["401"], cursor: same.nextCursor });
  const [{ databaseId, epoch } = { databaseId: "", epoch: 0n }] = before.databases;
  assert.equal(after.databases.length, 1);
  assert.equal(after.databases[0]!.databaseId, databaseId);
  assert.ok(after.databases[0]!.epoch > epoch);
  const again = accepted((await one.append(say("402", "401", "n")))[0]);
  assert.notEqual(again.conversationId, conversationId);
  assert.equal(again.sequence, 1);
  assert.equal(refused((await toGroup("401", "m2"))[0]), ErrorReason.NOT_A_MEMBER);
});
