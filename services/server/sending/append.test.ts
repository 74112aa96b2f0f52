import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { SendRequestSchema, SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { random } from "../random.fixture.ts";
import {
  accepted,
  contentOf,
  encode,
  type Outgoing,
  refused,
  request,
  Stand,
  toConversation,
  toUser,
  UNKNOWN_USER_ID,
} from "../server.fixture.ts";
import { textOf } from "../subscriber.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

const hi = (from: string, to: string, key: string, text = "hi"): Outgoing => ({
  from,
  to: toUser(to),
  key,
  text,
});

test("the first send creates the direct conversation, and the result has its sequence", async (t) => {
  const one = await new Stand(t, pool).server();
  const [first, second, back] = await one.append(
    hi("101", "102", "a"),
    hi("101", "102", "b"),
    hi("102", "101", "a"),
  );
  assert.equal(first?.clientMessageId, "a");
  assert.deepEqual(
    [first, second, back].map((result) => accepted(result).sequence),
    [1, 2, 3],
  );
  const { conversationId } = accepted(first);
  const page = await one.messages("102").listEntries({
    conversationId,
    position: { case: "afterSequence", value: 0n },
  });
  assert.deepEqual(
    page.entries.map((entry) => [entry.senderId, entry.clientMessageId, textOf(entry)]),
    [
      ["101", "a", "hi"],
      ["101", "b", "hi"],
      ["102", "a", "hi"],
    ],
  );
  assert.equal(page.entries[0]!.messageId, accepted(first).messageId);
  assert.equal(page.entries[0]!.acceptedAtMs, accepted(first).acceptedAtMs);
});

test("a pair has one conversation, also in a race of both users on two servers", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const pairs = Array.from({ length: 40 }, (_, i) => [`${2_000 + i}`, `${2_999 - i}`] as const);
  const [there, back] = await Promise.all([
    one.append(...pairs.map(([a, b]) => hi(a, b, "k"))),
    two.append(...pairs.toReversed().map(([a, b]) => hi(b, a, "k"))),
  ]);
  const ids = (results: typeof there) => results.map((r) => accepted(r).conversationId);
  assert.deepEqual(ids(there), ids(back).toReversed());
  assert.equal(new Set(ids(there)).size, 40);
});

test("a send to a new user does not delay other senders, and keeps the order of its sender", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const [known] = await one.append(hi("191", "192", "before"));
  const { conversationId } = accepted(known);
  const subscriber = await stand.instance("connect-wait", ["u:192", "u:194"]);
  const auth = Promise.withResolvers<void>();
  stand.authAnswers = auth.promise;
  const results = one.append(
    { ...hi("191", "193", "new-one"), text: "first" },
    { from: "191", to: toConversation(conversationId), key: "after-it", text: "second" },
    { ...hi("194", "192", "new-too"), text: "third" },
    { ...hi("192", "191", "known"), text: "not kept waiting" },
  );
  await subscriber.until(({ texts }) => texts.length === 1);
  assert.deepEqual(subscriber.texts, ["not kept waiting"]);
  auth.resolve();
  const sequences = (await results).map((result) => accepted(result).sequence);
  assert.deepEqual(sequences, [1, 3, 1, 2]);
});

test("a duplicate send returns the first result and stores nothing", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const [first] = await one.append(hi("111", "112", "same"));
  const [duplicate, fresh] = await one.append(hi("111", "112", "same"), hi("111", "112", "new"));
  const [elsewhere] = await two.append(hi("111", "112", "same"));
  assert.deepEqual(accepted(duplicate), accepted(first));
  assert.deepEqual(accepted(elsewhere), accepted(first));
  assert.equal(accepted(fresh).sequence, 2);
});

test("the same key twice in one batch is stored once", async (t) => {
  const one = await new Stand(t, pool).server();
  const results = await one.append(
    hi("121", "122", "k1"),
    hi("121", "122", "k1"),
    hi("121", "122", "k2"),
    hi("121", "122", "k1", "something else"),
    hi("121", "122", "k1"),
  );
  assert.deepEqual(accepted(results[1]), accepted(results[0]));
  assert.deepEqual(accepted(results[4]), accepted(results[0]));
  assert.equal(refused(results[3]), ErrorReason.KEY_REUSED);
  const sequences = [results[0], results[2]].map((result) => accepted(result).sequence);
  assert.deepEqual(sequences.toSorted(), [1, 2]);
});

test("a reused key with other content is refused, but not with another encoding of equal content", async (t) => {
  const one = await new Stand(t, pool).server();
  const [first] = await one.append(hi("131", "132", "k", "x"));
  const [other] = await one.append(hi("131", "132", "k", "y"));
  assert.equal(refused(other), ErrorReason.KEY_REUSED);
  // In this encoding the key follows the content.
  const bytes = Buffer.concat([
    request({ target: toUser("132") }),
    request({ content: { kind: { case: "text", value: { text: "x" } } } }),
    request({ clientMessageId: "k" }),
  ]);
  const uplinks = [{ senderId: "131", send: bytes }];
  const { results } = await one.ingress.appendBatch({ uplinks });
  const duplicate = fromBinary(SendResultSchema, results[0]!);
  assert.deepEqual(accepted(duplicate), accepted(first));
});

test("each refused send has its reason, and the other sends of the batch are stored", async (t) => {
  const one = await new Stand(t, pool).server();
  const results = await one.append(
    hi("141", UNKNOWN_USER_ID, "k"),
    hi("141", "141", "k"),
    { from: "141", to: toConversation("77"), key: "k", text: "hi" },
    hi("141", "142", "bad key!"),
    hi("141", "142", "empty", ""),
    hi("141", "142", "fine"),
    hi("141", "142", "long", "x".repeat(10_001)),
  );
  assert.deepEqual(
    results.map((result) => (result.outcome.case === "refused" ? refused(result) : "ok")),
    [
      ErrorReason.USER_NOT_FOUND,
      ErrorReason.INVALID_ARGUMENT,
      ErrorReason.CONVERSATION_NOT_FOUND,
      ErrorReason.INVALID_ARGUMENT,
      ErrorReason.INVALID_ARGUMENT,
      "ok",
      ErrorReason.INVALID_ARGUMENT,
    ],
  );
});

test("a valid send is stored, whatever bytes the other sends of its batch have", async (t) => {
  const one = await new Stand(t, pool).server();
  const { conversationId } = accepted((await one.append(hi("145", "146", "k")))[0]);
  const next = random(11);
  const below = (n: number) => Math.floor(next() * n);
  const location = { title: "here", latitudeDeg: 52.5, longitudeDeg: -0.1 };
  const contents = [contentOf("aé漢🦩"), { kind: { case: "location", value: location } }] as const;
  for (let round = 0; round < 20; round++) {
    const key = `good-${round}`;
    const uplinks = Array.from({ length: 100 }, (_, index) => {
      const target = index % 2 === 0 ? toUser("146") : toConversation(conversationId);
      const content = contents[below(contents.length)]!;
      const bytes = Buffer.from(request({ target, clientMessageId: `k-${below(50)}`, content }));
      for (let n = below(4); n > 0; n--) bytes[below(bytes.length)] = below(256);
      return { senderId: "145", send: next() < 0.1 ? bytes.subarray(below(bytes.length)) : bytes };
    });
    const good = { target: toUser("146"), clientMessageId: key, content: contentOf("hi") };
    uplinks.push({ senderId: "145", send: Buffer.from(request(good)) });
    const { results } = await one.ingress.appendBatch({ uplinks });
    const last = fromBinary(SendResultSchema, results.at(-1)!);
    assert.equal(results.length, uplinks.length);
    assert.equal(last.clientMessageId, key);
    accepted(last);
  }
});

test("a non-member can neither write to nor read a conversation", async (t) => {
  const one = await new Stand(t, pool).server();
  const { conversationId } = accepted((await one.append(hi("151", "152", "k")))[0]);
  const to = toConversation(conversationId);
  const [stranger] = await one.append({ from: "153", to, key: "k", text: "hi" });
  assert.equal(refused(stranger), ErrorReason.NOT_A_MEMBER);
  await assert.rejects(
    one
      .messages("153")
      .listEntries({ conversationId, position: { case: "afterSequence", value: 0n } }),
    { code: 5 },
  );
});

test("a stale cached membership is refreshed: one server removes a member, the other refuses the send", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const { group } = await one.groups("161").createGroup({ name: "g", userIds: ["162", "163"] });
  const to = toConversation(group!.groupId);
  const say = (from: string, key: string): Outgoing => ({ from, to, key, text: "hi" });
  const [stored] = await two.append(say("162", "k1"), say("163", "k1"));
  await one.groups("161").removeMember({ groupId: group!.groupId, userId: "162" });
  const [gone, stays, duplicate] = await two.append(
    say("162", "k2"),
    say("163", "k2"),
    say("162", "k1"),
  );
  assert.equal(refused(gone), ErrorReason.NOT_A_MEMBER);
  assert.equal(accepted(stays).sequence, 5);
  assert.deepEqual(accepted(duplicate), accepted(stored), "a duplicate keeps its first result");
  await one.groups("161").addMembers({ groupId: group!.groupId, userIds: ["162"] });
  const [back] = await two.append(say("162", "k3"));
  assert.equal(accepted(back).sequence, 7, "a cached denial is re-checked");
});

test("a muted member is refused until the mute ends", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("171").createGroup({ name: "g", userIds: ["172"] });
  const until = stand.clock.now() + 60_000;
  await pool.query("UPDATE im.member SET muted_until_ms = $1 WHERE user_id = 172", [until]);
  const say = (key: string) =>
    one.append({ from: "172", to: toConversation(group!.groupId), key, text: "hi" });
  assert.equal(refused((await say("a"))[0]), ErrorReason.MUTED);
  stand.clock.advance(60_001);
  assert.equal(accepted((await say("b"))[0]).sequence, 2);
});

test("16 concurrent senders on two servers produce one order without gaps", async (t) => {
  const stand = new Stand(t, pool);
  const servers = [await stand.server(), await stand.server()];
  const senders = Array.from({ length: 16 }, (_, i) => `${1_800 + i}`);
  const { group } = await servers[0]!
    .groups(senders[0]!)
    .createGroup({ name: "g", userIds: senders.slice(1) });
  const to = toConversation(group!.groupId);
  const results = await Promise.all(
    senders.map(async (from, nth) => {
      const mine: number[] = [];
      for (let i = 0; i < 25; i++) {
        const server = servers[(nth + i) % 2]!;
        const [result] = await server.append({ from, to, key: `k${i}`, text: `${from} ${i}` });
        mine.push(accepted(result).sequence);
      }
      return mine;
    }),
  );
  for (const mine of results)
    assert.deepEqual(
      mine,
      mine.toSorted((a, b) => a - b),
    );
  const all = results.flat().toSorted((a, b) => a - b);
  assert.deepEqual(
    all,
    Array.from({ length: 400 }, (_, i) => i + 2),
  );
});

test("batches of many conversations in opposite orders on two servers never deadlock", async (t) => {
  const stand = new Stand(t, pool);
  const servers = [await stand.server(), await stand.server()];
  const peers = Array.from({ length: 100 }, (_, i) => `${3_100 + i}`);
  const deadlocks = async () => {
    const { rows } = await pool.query(
      "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    );
    return Number(rows[0].deadlocks);
  };
  const before = await deadlocks();
  for (let round = 0; round < 6; round++) {
    await Promise.all(
      [0, 1, 2, 3].map(async (n) => {
        const order = n % 2 === 0 ? peers : peers.toReversed();
        const results = await servers[n % 2]!.append(
          ...order.map((peer) => hi("3000", peer, `r${round}-${n}`)),
        );
        for (const result of results) accepted(result);
      }),
    );
  }
  assert.equal(await deadlocks(), before);
  const { rows } = await pool.query(
    `SELECT count(*)::int AS entries, sum(c.last_sequence)::int AS sequences
       FROM im.entry e JOIN im.member m ON m.conversation_id = e.conversation_id AND m.user_id = 3000
       JOIN im.conversation c ON c.conversation_id = e.conversation_id`,
  );
  assert.equal(rows[0].entries, 2_400);
});

test("a full queue refuses sends with OVERLOADED and stores the queued ones", async (t) => {
  const one = await new Stand(t, pool).server({ lanes: 1, laneQueueCount: 10 });
  await one.append(hi("191", "192", "first"));
  const results = await one.append(
    ...Array.from({ length: 30 }, (_, i) => hi("191", "192", `k${i}`)),
  );
  const stored = results.filter((result) => result.outcome.case === "accepted");
  assert.equal(stored.length, 10);
  assert.equal(refused(results.at(-1)), ErrorReason.OVERLOADED);
});

test("Send appends a message, and fails with the reason of a refusal", async (t) => {
  const one = await new Stand(t, pool).server();
  const send = (key: string, text: string) =>
    one.messages("195").send({
      target: toUser("196"),
      clientMessageId: key,
      content: { kind: { case: "text", value: { text } } },
    });
  const { accepted: first } = await send("k", "x");
  const { accepted: duplicate } = await send("k", "x");
  assert.deepEqual(duplicate, first);
  await assert.rejects(send("k", "y"), { code: 6 });
  await assert.rejects(send("l", ""), { code: 3 });
  // Field 18, which a later version of the contract may define.
  const unknown = Uint8Array.of(0x92, 0x01, 0x01, 0x78);
  const bytes = Buffer.concat([encode({ to: toUser("196"), key: "m", text: "x" }), unknown]);
  await one.messages("195").send(fromBinary(SendRequestSchema, bytes));
  const { rows } = await pool.query(
    "SELECT body FROM im.entry WHERE sender_id = 195 AND client_message_id = 'm'",
  );
  const stored = rows.map(({ body }) => fromBinary(EntrySchema, body));
  assert.deepEqual(
    stored.map(({ $unknown }) => $unknown),
    [undefined],
  );
});

test("a stopping server finishes accepted sends and refuses new ones", async (t) => {
  const one = await new Stand(t, pool).server();
  const sending = one.append(hi("197", "198", "k"));
  const stopped = one.server.stop();
  accepted((await sending)[0]);
  await stopped;
  assert.equal(one.server.ready(), false);
  await assert.rejects(one.append(hi("197", "198", "k2")), { code: 14 });
});
