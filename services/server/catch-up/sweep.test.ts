import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { accepted, type RunningServer, Stand, say, toConversation } from "../server.fixture.ts";

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

const countRows = async (table: string): Promise<number> =>
  Number((await pool.query(`SELECT count(*) FROM ${table}`)).rows[0].count);

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

test("news are deleted after four intervals; an older cursor selects by users", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  await confirmAll(stand);
  const start = await sweep(one, "231", "");
  const { conversationId } = accepted((await one.append(say("232", "231", "a")))[0]);
  const { group } = await one.groups("232").createGroup({ name: "g", userIds: ["231"] });
  await confirmAll(stand);
  assert.ok((await countRows("im.news")) > 0);
  // The other servers of this database have their own clocks: only this stand's servers delete.
  for (let interval = 0; interval < 6; interval++) {
    stand.clock.advance(INTERVAL_MS);
    await Promise.all([sweep(one, "1", ""), sweep(two, "1", "")]);
    while (interval >= 4 && (await countRows("im.news")) > 0);
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
  while ((await countRows("im.outbox")) > 0) {
    stand.clock.advance(1_000);
    await new Promise(setImmediate);
  }
}
