import assert from "node:assert/strict";
import { after, test } from "node:test";
import type pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { bucketOf, bucketOfGroup, bucketOfPair } from "#platform/buckets/bucket.ts";
import { reasonOf } from "#platform/errors.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { accepted, type RunningServer, Stand, say } from "../server.fixture.ts";
import { fragile } from "./fragile-pool.fixture.ts";
import { Logs } from "./logs.ts";
import { keyIn, peersIn, uplinksOf } from "./places.fixture.ts";
import { RouteCheck } from "./routes.fixture.ts";

const COUNT = 3;
const { logs } = await startTestPostgres({ after }, { max: 6, logs: COUNT });

/** All conversations of Sync from a cursor, page by page, with the last cursor. */
async function syncAll(server: RunningServer, userId: string, cursor = "", limit = 0) {
  const pages = [];
  for (;;) {
    const page = await server.messages(userId).sync({ cursor, pageSize: limit });
    pages.push(page);
    cursor = page.nextCursor;
    if (!page.hasMore) break;
  }
  const conversations = pages.flatMap((page) => page.conversations);
  return { conversations, cursor, pages, retryAfterMs: pages.at(-1)!.retryAfterMs };
}

test("every statement runs in the database of its route, and each database stores its part", async (t) => {
  const check = new RouteCheck(COUNT);
  const stand = new Stand(t, logs);
  const one = await stand.server({}, { observe: check.observe });
  const peers = Array.from({ length: 24 }, (_, at) => String(1_200 + at));
  const sent = await one.append(...peers.map((peer) => say("1000", peer, "k")));
  const ids = sent.map((result) => accepted(result).conversationId);
  for (const [at, id] of ids.entries())
    assert.equal(bucketOf(id), bucketOfPair("1000", peers[at]!));
  await one.append(...peers.map((peer) => say("1000", peer, "k")), say("1000", peers[0]!, "k2"));
  await one.ingress.advanceBatch({
    advances: ids.map((conversationId, at) => ({
      userId: peers[at]!,
      cursor: { conversationId, deliveredSequence: 1n, readSequence: 1n },
    })),
  });
  const { ranges } = await one.ingress.readEntries({
    ranges: ids.map((conversationId) => ({ userId: "1000", conversationId, limit: 10 })),
  });
  assert.deepEqual(
    ranges.map(({ entries }) => entries.length),
    [2, ...ids.slice(1).map(() => 1)],
  );
  for (const conversationId of ids.slice(0, 6)) {
    const from = { case: "afterSequence", value: 0n } as const;
    const after = await one.messages("1000").listEntries({ conversationId, position: from });
    assert.ok(after.entries.length >= 1);
    const position = { case: "beforeSequence", value: 9n } as const;
    await one.messages("1000").listEntries({ conversationId, position });
    const { receipts } = await one.messages("1000").listReceipts({ conversationId });
    assert.equal(receipts.length, 2);
  }
  // Groups.
  const groups: string[] = [];
  for (let at = 0; at < 9; at++) {
    const clientGroupId = at < 6 ? `g${at}` : "";
    const request = { name: "g", userIds: ["1001"], clientGroupId };
    const { groupId } = (await one.groups("1000").createGroup(request)).group!;
    groups.push(groupId);
    if (at < 6) assert.equal(bucketOf(groupId), bucketOfGroup("1000", clientGroupId));
    await one.groups("1000").addMembers({ groupId, userIds: ["1002"] });
    await one.groups("1000").removeMember({ groupId, userId: "1002" });
    await one.groups("1001").getGroup({ groupId });
    await one.groups("1001").listMembers({ groupId });
  }
  const retry = { name: "g", userIds: ["1001"], clientGroupId: "g2" };
  assert.equal((await one.groups("1000").createGroup(retry)).group!.groupId, groups[2]);
  const { opened } = await one.ingress.openSessions({ userIds: ["1001", "1000"] });
  assert.deepEqual(
    opened.map(({ groupIds }) => new Set(groupIds)),
    [new Set(groups), new Set(groups)],
  );
  assert.ok(opened.every(({ incomplete }) => !incomplete));
  const first = await one.ingress.sweep({ userIds: ["1000", "1001"], cursor: "" });
  assert.equal(first.nextCursor.split(",").length, COUNT);
  const old = first.nextCursor.replace(/\.\d+/g, ".0");
  const all = await one.ingress.sweep({ userIds: ["1000"], cursor: old });
  assert.ok(all.changes.length + all.groups.length >= ids.length);
  await one.server.replay();

  assert.deepEqual(check.breaches, []);
  const perDatabase = [...check.runs].filter(([, counts]) => counts.some((count) => count === 0));
  assert.deepEqual(perDatabase, [], "each statement ran in each database");
  for (const [number, pool] of logs.entries()) {
    const { rows } = await pool.query<{ id: string }>(
      "SELECT conversation_id AS id FROM im.conversation",
    );
    assert.ok(rows.length > 0);
    assert.ok(rows.every(({ id }) => bucketOf(id) % COUNT === number));
  }
});

test("pages of Sync cover the conversations of all databases once, and later changes", async (t) => {
  const one = await new Stand(t, logs).server();
  const peers = Array.from({ length: 25 }, (_, at) => String(2_200 + at));
  const sent = await one.append(...peers.map((peer) => say("2000", peer, "a")));
  const ids = new Set(sent.map((result) => accepted(result).conversationId));
  for (const limit of [1, 4, 7, 0]) {
    const { conversations } = await syncAll(one, "2000", "", limit);
    assert.equal(conversations.length, ids.size);
    assert.deepEqual(new Set(conversations.map((one) => one.conversationId)), ids);
  }
  const { cursor } = await syncAll(one, "2000", "", 6);
  assert.deepEqual((await syncAll(one, "2000", cursor)).conversations, []);
  await one.append(say(peers[3]!, "2000", "b"), say(peers[4]!, "2000", "b"));
  const later = await syncAll(one, "2000", cursor, 1);
  assert.deepEqual(
    new Set(later.conversations.map((one) => one.peerUserId)),
    new Set([peers[3], peers[4]]),
  );
  // A cursor without a position of one database starts there from the beginning.
  const partly = cursor.split(",").slice(1).join(",");
  const known = (await syncAll(one, "2000", partly)).conversations.length;
  assert.ok(known > 2 && known < ids.size);
});

test("an unreachable database delays only its own conversations", async (t) => {
  const second = fragile(logs[1]!);
  const stand = new Stand(t, [logs[0]!, second.pool, logs[2]!]);
  const one = await stand.server();
  const [here] = peersIn(0, 3_000, 3_200, 1);
  const [there, other] = peersIn(1, 3_000, 3_200, 2);
  const [a, b] = await one.append(say("3000", here!, "1"), say("3000", there!, "1"));
  await one.groups("3000").createGroup({ name: "g", clientGroupId: keyIn(0) });
  await one.groups("3000").createGroup({ name: "g", clientGroupId: keyIn(1) });
  const { cursor } = await syncAll(one, "3000");
  const swept = await one.ingress.sweep({ userIds: ["3000"], cursor: "" });

  second.state = "away";
  const sends = [say("3000", here!, "2"), say("3000", there!, "2"), say("3000", other!, "2")];
  const results = (await one.ingress.appendBatch({ uplinks: uplinksOf(sends) })).results;
  assert.deepEqual(
    results.map(({ length }) => length === 0),
    [false, true, true],
  );
  const advances = [a, b].map((result) => ({
    userId: "3000",
    cursor: {
      conversationId: accepted(result).conversationId,
      deliveredSequence: 1n,
      readSequence: 1n,
    },
  }));
  // Another server, which has not cached the conversations.
  const two = await stand.server();
  const undelivered = { userId: "3000", undeliveredSequence: 1n };
  const lean = advances.map(({ cursor: { conversationId } }) => ({
    ...undelivered,
    cursor: { conversationId },
  }));
  assert.deepEqual((await two.ingress.advanceBatch({ advances: lean })).failed, [1]);
  assert.deepEqual((await one.ingress.advanceBatch({ advances })).failed, [1]);
  const theirs = await one.ingress.advanceBatch({ advances: advances.slice(1) });
  assert.deepEqual(theirs.failed, [0], "connect retries them beside later cursors");
  const partly = await syncAll(one, "3000", cursor);
  assert.deepEqual(
    partly.conversations.map((one) => one.peerUserId),
    [here],
  );
  assert.ok(partly.retryAfterMs > 0n);
  const [opened] = (await one.ingress.openSessions({ userIds: ["3000"] })).opened;
  assert.deepEqual([opened!.groupIds.length, opened!.incomplete], [1, true]);
  const during = await one.ingress.sweep({ userIds: ["3000"], cursor: swept.nextCursor });
  assert.equal(during.nextCursor.split(",").length, COUNT);
  await assert.rejects(one.ingress.appendBatch({ uplinks: uplinksOf(sends.slice(1)) }), (error) => {
    assert.equal(reasonOf(error), ErrorReason.UNAVAILABLE);
    return true;
  });
  assert.equal(one.server.ready(), true);

  second.state = "here";
  stand.clock.advance(1_000);
  while ((await one.messages("3000").sync({})).retryAfterMs > 0n);
  const retried = await one.append(...sends);
  assert.deepEqual(
    retried.map((result) => accepted(result).sequence),
    [2, 2, 1],
  );
  const rest = await syncAll(one, "3000", partly.cursor);
  const found = rest.conversations.map((one) => one.peerUserId).filter((id) => id !== "0");
  assert.deepEqual(new Set(found), new Set([there, other]));
  assert.equal(rest.retryAfterMs, 0n);
  const next = await one.ingress.sweep({ userIds: ["3000"], cursor: during.nextCursor });
  assert.ok(
    next.changes.some(({ conversationId }) => conversationId === accepted(b).conversationId),
  );
});

test("the others do not wait for a database whose connection attempts take long", async (t) => {
  const silent = fragile(logs[1]!);
  const stand = new Stand(t, [logs[0]!, silent.pool, logs[2]!]);
  const one = await stand.server();
  const [here, moved] = peersIn(0, 5_000, 5_200, 2);
  const [there, other] = peersIn(1, 5_000, 5_200, 2);
  await one.append(say("5000", here!, "1"), say("5000", there!, "1"));
  silent.state = "away";
  assert.ok((await one.messages("5000").sync({})).retryAfterMs > 0n);

  silent.state = "silent";
  // The database is probed meanwhile, without an answer.
  for (let second = 0; second < 5; second++) {
    stand.clock.advance(1_000);
    await syncAll(one, "5000");
  }
  const sends = [here!, there!, other!].map((peer) => say("5000", peer, "2"));
  const { results } = await one.ingress.appendBatch({ uplinks: uplinksOf(sends) });
  assert.deepEqual(
    results.map(({ length }) => length === 0),
    [false, true, true],
  );
  assert.ok((await one.messages("5000").sync({})).retryAfterMs > 0n);
  // The new place of a bucket is found meanwhile.
  const bucket = bucketOfPair("5000", moved!);
  const setState = (pool: pg.Pool, state: number) =>
    pool.query("UPDATE im.bucket SET state = $2 WHERE bucket = $1", [bucket, state]);
  await setState(logs[0]!, 0);
  await setState(logs[2]!, 1);
  stand.clock.advance(1_000);
  const [result] = await one.append(say("5000", moved!, "1"));
  const { conversationId } = accepted(result);
  const { rowCount } = await logs[2]!.query(
    "SELECT FROM im.conversation WHERE conversation_id = $1",
    [conversationId],
  );
  assert.equal(rowCount, 1);
  await setState(logs[2]!, 0);
  await setState(logs[0]!, 1);
});

test("a first message whose statement conflicts is retried, and refused with UNAVAILABLE in the end", async (t) => {
  const db = logs[0]!;
  const one = await new Stand(t, logs).server();
  await db.query(`
    CREATE SEQUENCE im.conflicts;
    GRANT ALL ON im.conflicts TO public;
    CREATE FUNCTION im.conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF nextval('im.conflicts') < 3 THEN
        RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected';
      END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER conflict BEFORE INSERT ON im.direct FOR EACH ROW EXECUTE FUNCTION im.conflict()`);
  try {
    const [peer, other] = peersIn(0, 7000, 7200, 2);
    const [sent] = await one.append(say("7000", peer!, "1"));
    assert.equal(accepted(sent).sequence, 1);
    await db.query(
      "SELECT setval('im.conflicts', 1); ALTER SEQUENCE im.conflicts CYCLE MAXVALUE 2",
    );
    await assert.rejects(
      one.append(say("7000", other!, "1")),
      (error) => reasonOf(error) === ErrorReason.UNAVAILABLE,
    );
  } finally {
    await db.query("DROP FUNCTION im.conflict() CASCADE; DROP SEQUENCE im.conflicts");
  }
});

test("the groups of a user in all databases count", async (t) => {
  const one = await new Stand(t, logs).server({ maxGroupsPerUser: 3 });
  for (const database of [0, 1, 2]) {
    await one.groups("4000").createGroup({ name: "g", clientGroupId: keyIn(database, "4000") });
  }
  await assert.rejects(one.groups("4000").createGroup({ name: "g" }), (error) => {
    assert.equal(reasonOf(error), ErrorReason.GROUP_FULL);
    return true;
  });
  const { group } = await one.groups("4001").createGroup({ name: "g" });
  const adding = one.groups("4001").addMembers({ groupId: group!.groupId, userIds: ["4000"] });
  await assert.rejects(adding, (error) => reasonOf(error) === ErrorReason.GROUP_FULL);
});

test("databases that do not have each bucket once are refused at the start", async () => {
  const clock = new ManualClock();
  const start = (...pools: pg.Pool[]) =>
    new Logs({ pools, clock, log: quiet, answerMs: 2_000 }).start();
  await assert.rejects(start(logs[0]!, logs[1]!), /341 of 1024 buckets .* are in no database/);
  await assert.rejects(start(logs[0]!, logs[1]!, logs[2]!, logs[1]!), /URL 2 and URL 4/);
  await logs[0]!.query("UPDATE im.bucket SET state = 1 WHERE bucket = 1");
  await assert.rejects(start(...logs), /Bucket 1 .* is in two databases/);
  await logs[0]!.query("UPDATE im.bucket SET state = 0 WHERE bucket = 1");
  await start(...logs);
});

for (const [seems, first] of [
  ["in two databases", 0],
  ["in none", 1],
] as const) {
  test(`the places are read once more when a bucket moves meanwhile and seems ${seems}`, async () => {
    const move = async (from: number, to: number) => {
      await logs[from]!.query("UPDATE im.bucket SET state = 0 WHERE bucket = 3");
      await logs[to]!.query("UPDATE im.bucket SET state = 1 WHERE bucket = 3");
    };
    const { promise: firstRead, resolve: ended } = Promise.withResolvers<void>();
    const early = async () => {
      const client = await logs[first]!.connect();
      const release = client.release.bind(client);
      client.release = (broken) => {
        release(broken);
        ended();
      };
      return client;
    };
    let moved = false;
    const late = async () => {
      await firstRead;
      if (!moved) await move(0, 1);
      moved = true;
      return logs[1 - first]!.connect();
    };
    const withConnect = (at: number, connect: () => Promise<pg.PoolClient>) =>
      Object.create(logs[at]!, { connect: { value: connect } }) as pg.Pool;
    const pools = [...logs];
    pools[first] = withConnect(first, early);
    pools[1 - first] = withConnect(1 - first, late);
    const reading = new Logs({ pools, clock: new ManualClock(), log: quiet, answerMs: 2_000 });
    await reading.start().finally(() => move(1, 0));
    assert.equal(reading.peek(3), reading.databases[1]);
    reading.stop();
  });
}
