import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { GetConversationRequest } from "#gen/lucky/message/v1/conversation_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { random } from "../random.fixture.ts";
import { accepted, Stand, say, toConversation, UNKNOWN_USER_ID } from "../server.fixture.ts";
import { textOf } from "../subscriber.fixture.ts";
import { syncAll } from "./sync.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("Sync pages through many conversations, each once, oldest change first", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const peers = Array.from({ length: 60 }, (_, i) => `${1_100 + i}`);
  // Twenty conversations change in the same millisecond.
  for (let i = 0; i < 60; i += 20) {
    await one.append(...peers.slice(i, i + 20).map((peer) => say(peer, "1099", "m")));
    stand.clock.advance(1);
  }
  const { conversations } = await syncAll(one, "1099");
  assert.equal(conversations.length, 60);
  assert.equal(new Set(conversations.map(({ peerUserId }) => peerUserId)).size, 60);
  const times = conversations.map(({ lastEntry }) => Number(lastEntry!.acceptedAtMs));
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
  );
  assert.ok(conversations.every(({ unreadCount, member }) => unreadCount === 1n && member));
});

test("a later Sync returns only the changed conversations", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  await one.append(say("102", "101", "m"), say("103", "101", "m"));
  const first = await syncAll(one, "101");
  assert.equal(first.conversations.length, 2);
  const second = await syncAll(one, "101", first.cursor);
  assert.deepEqual((await syncAll(one, "101", second.cursor)).conversations, []);
  await one.append(say("102", "101", "n"));
  const third = await syncAll(one, "101", second.cursor);
  assert.deepEqual(
    third.conversations.map(({ peerUserId, lastEntry }) => [peerUserId, textOf(lastEntry!)]),
    [["102", "n"]],
  );
  const { conversationId } = third.conversations[0]!;
  await one.messages("102").acknowledge({ cursors: [{ conversationId, readSequence: 2n }] });
  const fourth = await syncAll(one, "101", third.cursor);
  assert.deepEqual(
    fourth.conversations.map((c) => [c.peerReadSequence, c.peerDeliveredSequence]),
    [[2n, 2n]],
    "a moved cursor of the peer is a change",
  );
});

test("a removed member can read the log up to the removal, and no later entries", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("121").createGroup({ name: "g", userIds: ["122"] });
  const groupId = group!.groupId;
  const write = (key: string) =>
    one.append({ from: "121", to: toConversation(groupId), key, text: key });
  await write("before");
  await one.groups("121").removeMember({ groupId, userId: "122" });
  await write("after");
  const [seen] = (await syncAll(one, "122")).conversations;
  assert.equal(seen!.member, false);
  assert.equal(seen!.lastSequence, 3n);
  assert.equal(seen!.unreadCount, 1n);
  assert.equal(textOf(seen!.lastEntry!), "(tip)");
  const list = (position: { case: "afterSequence" | "beforeSequence"; value: bigint }) =>
    one.messages("122").listEntries({ conversationId: groupId, position });
  const forwards = await list({ case: "afterSequence", value: 0n });
  assert.deepEqual(forwards.entries.map(textOf), ["(tip)", "before", "(tip)"]);
  assert.equal(forwards.lastSequence, 3n);
  const backwards = await list({ case: "beforeSequence", value: 100n });
  assert.deepEqual(backwards.entries.map(textOf), ["(tip)", "before", "(tip)"]);
  const { ranges } = await one.ingress.readEntries({
    ranges: [
      { userId: "122", conversationId: groupId, afterSequence: 0n, limit: 100 },
      { userId: "121", conversationId: groupId, afterSequence: 2n, limit: 1 },
      { userId: "129", conversationId: groupId, afterSequence: 0n, limit: 100 },
    ],
  });
  assert.deepEqual(
    ranges.map(({ entries }) => entries.length),
    [3, 1, 0],
  );
  await assert.rejects(one.messages("122").listReceipts({ conversationId: groupId }), { code: 5 });
  const swept = await one.ingress.sweep({ userIds: ["121", "122"] });
  assert.deepEqual(
    swept.changes.map(({ userId, lastSequence }) => [userId, lastSequence]).toSorted(),
    [
      ["121", 4n],
      ["122", 3n],
    ],
  );
  assert.deepEqual(swept.memberUserIds.toSorted(), ["121", "122"]);
});

test("a member who joins later sees the log from the join on", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("131").createGroup({ name: "g", userIds: ["132"] });
  const conversationId = group!.groupId;
  const write = (from: string, key: string) =>
    one.append({ from, to: toConversation(conversationId), key, text: key });
  await write("131", "old");
  await one.groups("131").addMembers({ groupId: conversationId, userIds: ["133"] });
  await write("131", "new");
  await write("133", "own");
  const page = await one.messages("133").listEntries({
    conversationId,
    position: { case: "afterSequence", value: 0n },
  });
  assert.deepEqual(page.entries.map(textOf), ["(tip)", "new", "own"]);
  const [seen] = (await syncAll(one, "133")).conversations;
  assert.equal(seen!.firstSequence, 3n);
  assert.equal(seen!.unreadCount, 1n);
  assert.equal(seen!.name, "g");
});

test("GetConversation returns each conversation as Sync does, also to a former member", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  await one.append(say("161", "162", "a"), say("162", "161", "b"), say("161", "162", "c"));
  const { group } = await one.groups("161").createGroup({ name: "g", userIds: ["162", "163"] });
  const groupId = group!.groupId;
  await one.append({ from: "163", to: toConversation(groupId), key: "m", text: "m" });
  await one.groups("161").removeMember({ groupId, userId: "162" });
  await one.append({ from: "163", to: toConversation(groupId), key: "n", text: "n" });
  for (const userId of ["161", "162", "163"]) {
    const { conversations } = await syncAll(one, userId);
    for (const expected of conversations) {
      const get = async (target: GetConversationRequest["target"]) =>
        (await one.conversations(userId).getConversation({ target })).conversation;
      const { conversationId, peerUserId } = expected;
      assert.deepEqual(await get({ case: "conversationId", value: conversationId }), expected);
      if (peerUserId !== "0")
        assert.deepEqual(await get({ case: "userId", value: peerUserId }), expected);
    }
  }
});

test("Sync, GetConversation and pages of the log tell the epoch of the conversation's bucket", async (t) => {
  const one = await new Stand(t, pool).server();
  const { conversationId } = accepted((await one.append(say("181", "182", "m")))[0]);
  const target = { case: "conversationId", value: conversationId } as const;
  const epochs = async () => {
    const { conversations } = await syncAll(one, "182");
    const { conversation } = await one.conversations("182").getConversation({ target });
    const pages = await Promise.all(
      (["afterSequence", "beforeSequence"] as const).flatMap((name) =>
        [1n, 2n].map((value) =>
          one.messages("182").listEntries({ conversationId, position: { case: name, value } }),
        ),
      ),
    );
    assert.deepEqual(pages.map(({ entries }) => entries.length).sort(), [0, 0, 0, 1]);
    return new Set([conversations[0]!, conversation!, ...pages].map(({ epoch }) => epoch));
  };
  const [before] = await epochs();
  assert.deepEqual(await epochs(), new Set([before]));
  await pool.query("UPDATE im.bucket SET epoch = 77 WHERE bucket = $1::bigint & 1023", [
    conversationId,
  ]);
  assert.deepEqual(await epochs(), new Set([77n]));
});

test("GetConversation finds neither the conversations of others nor one without entries", async (t) => {
  const one = await new Stand(t, pool).server();
  const { conversationId } = accepted((await one.append(say("171", "172", "m")))[0]);
  const empty = "1000171424";
  await pool.query(
    `INSERT INTO im.conversation (conversation_id, kind, member_count, created_at_ms)
     VALUES (${empty}, 1, 2, 0)`,
  );
  await pool.query(
    `INSERT INTO im.member (conversation_id, user_id, kind) VALUES (${empty}, 173, 1), (${empty}, 171, 1)`,
  );
  await pool.query(
    `INSERT INTO im.direct (low_user_id, high_user_id, conversation_id) VALUES (171, 173, ${empty})`,
  );
  const refused = (target: GetConversationRequest["target"]) =>
    assert.rejects(
      one.conversations("173").getConversation({ target }),
      (error) => reasonOf(error) === ErrorReason.CONVERSATION_NOT_FOUND,
    );
  await refused({ case: "conversationId", value: conversationId });
  await refused({ case: "conversationId", value: "42" });
  await refused({ case: "conversationId", value: empty });
  for (const value of ["171", "172", "173", UNKNOWN_USER_ID])
    await refused({ case: "userId", value });
});

test("5,000 entries are read in pages, in both directions, of at most 1 MiB", async (t) => {
  const one = await new Stand(t, pool).server();
  let conversationId = "";
  for (let batch = 0; batch < 10; batch++) {
    const sends = Array.from({ length: 500 }, (_, i) => say("141", "142", `m${batch * 500 + i}`));
    for (const result of await one.append(...sends)) ({ conversationId } = accepted(result));
  }
  const texts: string[] = [];
  let after = 0n;
  for (;;) {
    const { entries, lastSequence } = await one.messages("142").listEntries({
      conversationId,
      position: { case: "afterSequence", value: after },
      pageSize: 500,
    });
    assert.equal(lastSequence, 5_000n);
    if (entries.length === 0) break;
    texts.push(...entries.map(textOf));
    after = entries.at(-1)!.sequence;
  }
  assert.deepEqual(
    texts,
    Array.from({ length: 5_000 }, (_, i) => `m${i}`),
  );
  const back = await one.messages("142").listEntries({
    conversationId,
    position: { case: "beforeSequence", value: 3_000n },
    pageSize: 3,
  });
  assert.deepEqual(
    back.entries.map(({ sequence }) => sequence),
    [2_997n, 2_998n, 2_999n],
  );
  // 40 entries of 30,000 bytes exceed one page.
  const large = Array.from({ length: 40 }, (_, i) => ({
    ...say("141", "143", `l${i}`),
    text: "é".repeat(9_999).padEnd(10_000, `${i % 10}`),
  }));
  const large1 = accepted((await one.append(...large.slice(0, 20)))[0]);
  await one.append(...large.slice(20));
  for (let round = 0; round < 3; round++) {
    await one.append(...large.map((send) => ({ ...send, key: `${send.key}-${round}` })));
  }
  let count = 0;
  for (let position = 0n; ; ) {
    const { entries } = await one.messages("143").listEntries({
      conversationId: large1.conversationId,
      position: { case: "afterSequence", value: position },
      pageSize: 500,
    });
    if (entries.length === 0) break;
    assert.ok(entries.length < 60, "a page would exceed 1 MiB");
    assert.equal(entries[0]!.sequence, position + 1n);
    position = entries.at(-1)!.sequence;
    count += entries.length;
  }
  assert.equal(count, 160);
});

test("OpenSessions returns the groups of each user, in the order of the users", async (t) => {
  const one = await new Stand(t, pool).server();
  const make = async (name: string, userIds: string[]) =>
    (await one.groups("151").createGroup({ name, userIds })).group!.groupId;
  const [a, b] = [await make("a", ["152"]), await make("b", ["152", "153"])];
  await one.append(say("152", "153", "m"));
  await one.groups("151").removeMember({ groupId: b, userId: "153" });
  const { opened } = await one.ingress.openSessions({ userIds: ["153", "152", "151", "152"] });
  assert.deepEqual(
    opened.map(({ groupIds }) => groupIds.toSorted()),
    [[], [a, b].toSorted(), [a, b].toSorted(), [a, b].toSorted()],
  );
});

test("the unread count is exact after any history", async (t) => {
  for (const seed of [1, 2, 3]) {
    const stand = new Stand(t, pool);
    const servers = [await stand.server(), await stand.server()];
    const next = random(seed);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]!;
    const users = Array.from({ length: 5 }, (_, i) => `${2_000 + seed * 100 + i}`);
    const owner = users[0]!;
    const { group } = await servers[0]!
      .groups(owner)
      .createGroup({ name: "g", userIds: users.slice(1) });
    const conversationId = group!.groupId;

    // The model contains the whole log, and the bounds and the cursor of each user.
    const log: { sender: string; tip: boolean }[] = [{ sender: owner, tip: true }];
    const members = new Map(users.map((user) => [user, { first: 1, left: 0, read: 0 }]));
    const here = () => users.filter((user) => members.get(user)!.left === 0);
    const unread = (user: string) => {
      const { first, left, read } = members.get(user)!;
      const end = left || log.length;
      return log
        .map((entry, index) => ({ ...entry, sequence: index + 1 }))
        .filter(({ sequence }) => sequence > Math.max(read, first - 1) && sequence <= end)
        .filter(({ tip, sender }) => !tip && sender !== user).length;
    };

    for (let step = 0; step < 120; step++) {
      const server = pick(servers);
      const user = pick(here());
      const dice = next();
      stand.clock.advance(10);
      if (dice < 0.5) {
        const count = 1 + Math.floor(next() * 3);
        const sends = Array.from({ length: count }, (_, i) => ({
          from: user,
          to: toConversation(conversationId),
          key: `s${step}-${i}`,
          text: "x",
        }));
        for (const result of await server.append(...sends)) accepted(result);
        for (let i = 0; i < count; i++) log.push({ sender: user, tip: false });
      } else if (dice < 0.75) {
        const reader = pick(users);
        const readSequence = Math.floor(next() * (log.length + 3));
        const cursors = [{ conversationId, readSequence: BigInt(readSequence) }];
        await server.messages(reader).acknowledge({ cursors });
        const member = members.get(reader)!;
        member.read = Math.max(member.read, Math.min(readSequence, member.left || log.length));
      } else if (dice < 0.88) {
        const gone = pick(users.slice(1));
        if (members.get(gone)!.left > 0) continue;
        await server.groups(owner).removeMember({ groupId: conversationId, userId: gone });
        log.push({ sender: owner, tip: true });
        members.get(gone)!.left = log.length;
      } else {
        const former = users.filter((u) => members.get(u)!.left > 0);
        if (former.length === 0) continue;
        await server.groups(owner).addMembers({ groupId: conversationId, userIds: former });
        log.push({ sender: owner, tip: true });
        for (const back of former) {
          members.set(back, { first: log.length, left: 0, read: log.length - 1 });
        }
      }
      if (step % 10 !== 9) continue;
      for (const each of users) {
        const [seen] = (await syncAll(pick(servers), each)).conversations;
        const { left } = members.get(each)!;
        assert.equal(Number(seen!.lastSequence), left || log.length, `seed ${seed} step ${step}`);
        assert.equal(Number(seen!.unreadCount), unread(each), `seed ${seed} step ${step}`);
      }
    }
  }
});
