import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { entryWriter } from "../log/write-entry.ts";
import {
  accepted,
  contentOf,
  type RunningServer,
  Stand,
  say,
  toConversation,
  toUser,
  UNKNOWN_USER_ID,
} from "../server.fixture.ts";
import { edit, hide, recall } from "./changed-messages.fixture.ts";
import { appendAll, entriesOf, type ForwardInit, failureOf } from "./sends.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 12 });

type Content = MessageInitShape<typeof ContentSchema>;

const url = (name: string) => ({
  source: { case: "url", value: `https://example.com/${name}` } as const,
});
/** A content of each kind that can be forwarded. */
const CONTENTS: Content[] = [
  contentOf("hello"),
  { kind: { case: "image", value: { media: url("i"), caption: "a" } }, fallbackText: "picture" },
  { kind: { case: "video", value: { media: url("v") } } },
  { kind: { case: "audio", value: { media: url("a"), durationMs: 7n } } },
  { kind: { case: "file", value: { media: url("f"), fileName: "f.pdf" } } },
  { kind: { case: "location", value: { title: "here", latitudeDeg: 1, longitudeDeg: 2 } } },
  { kind: { case: "composite", value: { parts: [contentOf("part"), contentOf("two")] } } },
  { kind: { case: "contactCard", value: { userId: "7", displayName: "Ana" } } },
  { kind: { case: "custom", value: { type: "t", data: Uint8Array.of(1, 2) } } },
];

/** Appends contents to a direct conversation under the keys c0, c1 … */
async function appendContents(server: RunningServer, from: string, to: string, all: Content[]) {
  const target = toUser(to);
  const inits = all.map((content, at) => ({ target, clientMessageId: `c${at}`, content }));
  return (await appendAll(server, from, ...inits)).map((result) => accepted(result));
}

/** The failure of a forward. */
const failure = (server: RunningServer, callerId: string, init: ForwardInit) =>
  failureOf(server.messages(callerId).forward(init));

const keysOf = (count: number) => Array.from({ length: count }, (_, at) => `f${at}`);
const plainContent = ({ content }: Pick<Entry, "content">) => JSON.stringify(content, asText);
const asText = (_: string, value: unknown) =>
  typeof value === "bigint" || value instanceof Uint8Array ? String(value) : value;

test("copies have the contents of the originals, in the order of the request, and tell their authors", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const originals = await appendContents(one, "11", "12", CONTENTS);
  const { conversationId: fromConversationId } = originals[0]!;
  const heard = await stand.instance("connect-0", ["u:13"]);
  const sequences = originals.map(({ sequence }) => BigInt(sequence)).toReversed();
  const { accepted: copies } = await one.messages("12").forward({
    target: toUser("13"),
    fromConversationId,
    sequences,
    clientMessageIds: keysOf(sequences.length),
  });
  assert.deepEqual(
    copies.map(({ sequence }) => sequence),
    copies.map((_, at) => BigInt(at + 1)),
  );
  const before = (await entriesOf(one, "12", fromConversationId)).toReversed();
  const entries = await entriesOf(one, "13", copies[0]!.conversationId);
  await heard.until(({ entries }) => entries.length === CONTENTS.length);
  for (const [at, entry] of entries.entries()) {
    const original = before[at]!;
    assert.equal(plainContent(entry), plainContent(original));
    assert.equal(entry.senderId, "12");
    assert.equal(entry.clientMessageId, `f${at}`);
    assert.equal(entry.messageId, copies[at]?.messageId);
    assert.equal(entry.origin?.senderId, "11");
    assert.equal(entry.origin.messageId, original.messageId);
    assert.equal(entry.origin.acceptedAtMs, original.acceptedAtMs);
    assert.deepEqual(heard.entries[at], entry);
  }
  const { rows } = await pool.query(
    "SELECT kind FROM im.entry WHERE conversation_id = $1 ORDER BY sequence",
    [copies[0]!.conversationId],
  );
  assert.deepEqual(
    rows.map(({ kind }) => kind),
    [13, 8, 7, 6, 5, 4, 3, 2, 1],
  );
});

test("replies, mentions and data are not copied, an edited message is copied as it is now", async (t) => {
  const one = await new Stand(t, pool).server();
  const [first] = await one.append(say("21", "22", "a"));
  const { conversationId: fromConversationId } = accepted(first);
  const { accepted: full } = await one.messages("21").send({
    target: toUser("22"),
    clientMessageId: "full",
    content: contentOf("hi"),
    replyToSequence: 1n,
    mentionedUserIds: ["22"],
    mentionAll: true,
    extra: { a: "b" },
    silent: true,
  });
  assert.equal(full?.sequence, 2n);
  await edit(pool, { conversationId: fromConversationId, sequence: 1 }, "edited");
  const { accepted: copies } = await one.messages("22").forward({
    target: toUser("23"),
    fromConversationId,
    sequences: [1n, 2n],
    clientMessageIds: keysOf(2),
  });
  const [edited, bare] = await entriesOf(one, "23", copies[0]!.conversationId);
  assert.equal(edited?.content?.kind.case === "text" && edited.content.kind.value.text, "edited");
  assert.equal(edited?.state, undefined);
  assert.equal(bare?.replyToSequence, 0n);
  assert.deepEqual(bare.mentionedUserIds, []);
  assert.equal(bare.mentionAll, false);
  assert.deepEqual(bare.extra, {});
  assert.equal(bare.silent, false);
  const { rows } = await pool.query("SELECT 1 FROM im.mention WHERE conversation_id = $1", [
    copies[0]!.conversationId,
  ]);
  assert.equal(rows.length, 0);
});

test("merged messages are one message, in the order of their sequences", async (t) => {
  const one = await new Stand(t, pool).server();
  const originals = await appendContents(one, "31", "32", CONTENTS);
  const { conversationId: fromConversationId } = originals[0]!;
  const { accepted: copies } = await one.messages("32").forward({
    target: toUser("33"),
    fromConversationId,
    sequences: [9n, 1n, 2n, 8n, 3n, 7n, 4n, 6n, 5n],
    merge: true,
    clientMessageIds: ["m"],
  });
  assert.equal(copies.length, 1);
  const [entry] = await entriesOf(one, "33", copies[0]!.conversationId);
  assert.equal(entry?.origin, undefined);
  assert.equal(entry?.content?.kind.case, "merged");
  const { items } = entry.content.kind.value;
  assert.equal(items.length, CONTENTS.length);
  const before = await entriesOf(one, "32", fromConversationId);
  for (const [at, item] of items.entries()) {
    const { senderId, acceptedAtMs, content } = before[at]!;
    assert.equal(item.senderId, senderId);
    assert.equal(item.acceptedAtMs, acceptedAtMs);
    assert.equal(JSON.stringify(item.kind, asText), JSON.stringify(content?.kind, asText));
    assert.equal(item.fallbackText, content?.fallbackText);
  }
  const { conversations } = await one.messages("33").sync({ cursor: "" });
  assert.equal(conversations[0]?.unreadCount, 1n);
  assert.equal(conversations[0]?.preview?.kind, 14);
});

test("what the caller cannot see, and what cannot be forwarded, is refused, and then nothing is written", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("51").createGroup({ name: "g", userIds: ["52", "53"] });
  const conversationId = group!.groupId;
  const to = toConversation(conversationId);
  const say = (key: string) => one.append({ from: "51", to, key, text: key });
  for (const key of ["m2", "m3", "m4"]) await say(key);
  const invitation = { kind: { case: "groupInvitation", value: { groupId: "1", name: "g" } } };
  const content = invitation as Content;
  const [sent] = await appendAll(one, "51", { target: to, clientMessageId: "i", content });
  assert.equal(accepted(sent).sequence, 5);
  await one.groups("51").removeMember({ groupId: conversationId, userId: "53" });
  await one.groups("51").addMembers({ groupId: conversationId, userIds: ["54"] });
  await say("m8");
  await recall(pool, { conversationId, sequence: 3 });
  await hide(pool, "52", { conversationId, sequence: 4 });

  const reasons = async (callerId: string, ...sequences: bigint[]) => {
    const single = {
      target: toUser("59"),
      fromConversationId: conversationId,
      sequences,
      clientMessageIds: sequences.map((sequence) => `${callerId}-${sequence}`),
    };
    const { reason } = await failure(one, callerId, single);
    const merged = { ...single, merge: true, clientMessageIds: ["m"] };
    assert.equal((await failure(one, callerId, merged)).reason, reason);
    return reason;
  };
  assert.equal(await reasons("52", 2n, 1n), ErrorReason.FORWARD_DENIED, "a tip");
  assert.equal(await reasons("52", 2n, 5n), ErrorReason.FORWARD_DENIED, "an invitation");
  assert.equal(await reasons("52", 2n, 3n), ErrorReason.MESSAGE_RECALLED);
  assert.equal(await reasons("52", 2n, 4n), ErrorReason.MESSAGE_NOT_FOUND, "deleted");
  assert.equal(await reasons("52", 2n, 9n), ErrorReason.MESSAGE_NOT_FOUND, "no entry");
  assert.equal(await reasons("54", 8n, 2n), ErrorReason.MESSAGE_NOT_FOUND, "from before joining");
  assert.equal(await reasons("53", 2n, 8n), ErrorReason.MESSAGE_NOT_FOUND, "after leaving");
  assert.equal(await reasons("58", 2n), ErrorReason.CONVERSATION_NOT_FOUND, "never a member");
  // Nobody learns of a forward that was refused.
  const { rows } = await pool.query("SELECT 1 FROM im.member WHERE user_id = 59");
  assert.equal(rows.length, 0);
  // A former member forwards what he could read.
  const { accepted: copies } = await one.messages("53").forward({
    target: toUser("59"),
    fromConversationId: conversationId,
    sequences: [2n],
    clientMessageIds: ["f"],
  });
  assert.equal(copies[0]?.sequence, 1n);
});

test("a change in the log is no message to forward, and neither is a call record", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const [first] = await one.append(say("61", "62", "a"));
  const { conversationId } = accepted(first);
  const ids = { next: () => String(nextId++), take: () => [], inBuckets: () => [] };
  let nextId = 1_000_000;
  const write = entryWriter({ ids: ids as never, clock: stand.clock, outboxDelayMs: 0 });
  const contents = [
    { kind: { case: "pin", value: { targetSequence: 1n } } },
    { kind: { case: "callRecord", value: { callId: "1" } } },
  ] as const;
  const client = await pool.connect();
  for (const content of contents) await write(client, { conversationId, causedBy: "61", content });
  client.release();
  const reason = async (sequence: bigint) => {
    const init = { fromConversationId: conversationId, sequences: [sequence] };
    const copy = { target: toUser("63"), ...init, clientMessageIds: ["k"] };
    return (await failure(one, "61", copy)).reason;
  };
  assert.equal(await reason(2n), ErrorReason.MESSAGE_NOT_FOUND);
  assert.equal(await reason(3n), ErrorReason.FORWARD_DENIED);
});

test("originals of more than 64 KiB, and numbers that do not fit, are refused", async (t) => {
  const one = await new Stand(t, pool).server();
  const custom = (bytes: number): Content => ({
    kind: { case: "custom", value: { type: "t", data: new Uint8Array(bytes) } },
  });
  const contents = [custom(32_000), custom(32_000), custom(1_600), contentOf("x")];
  const [first] = await appendContents(one, "71", "72", contents);
  const base = { target: toUser("73"), fromConversationId: first!.conversationId };
  const tooLarge = { ...base, sequences: [1n, 2n, 3n] };
  for (const init of [
    { ...tooLarge, clientMessageIds: keysOf(3) },
    { ...tooLarge, merge: true, clientMessageIds: ["m"] },
  ])
    assert.equal((await failure(one, "71", init)).reason, ErrorReason.FORWARD_TOO_LARGE);
  const fits = { ...base, sequences: [1n, 2n, 4n], clientMessageIds: keysOf(3) };
  assert.equal((await one.messages("71").forward(fits)).accepted.length, 3);

  const sequences = Array.from({ length: 21 }, (_, at) => BigInt(at + 1));
  const invalid: [ForwardInit, string][] = [
    [{ ...base, sequences, clientMessageIds: keysOf(20) }, "sequences"],
    [{ ...base, sequences: [1n, 2n], clientMessageIds: ["a"] }, "client_message_ids"],
    [{ ...base, sequences: [1n], clientMessageIds: ["a", "b"] }, "client_message_ids"],
    [{ ...base, sequences: [1n], merge: true, clientMessageIds: ["a", "b"] }, "client_message_ids"],
    [{ ...base, target: toUser("71"), sequences: [1n], clientMessageIds: ["a"] }, "user_id"],
  ];
  for (const [init, field] of invalid)
    assert.deepEqual(await failure(one, "71", init), {
      reason: ErrorReason.INVALID_ARGUMENT,
      field,
    });
});

test("a copy has the refusals of a send, and the copies before it are written", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const results = await one.append(say("81", "82", "a"), say("81", "82", "b"));
  const { conversationId: fromConversationId } = accepted(results[0]);
  const { group } = await one.groups("81").createGroup({ name: "g", userIds: ["82"] });
  const base = { fromConversationId, sequences: [1n, 2n], clientMessageIds: ["k1", "k2"] };
  const toGroup = { ...base, target: toConversation(group!.groupId) };
  const reason = async (callerId: string, init: ForwardInit) =>
    (await failure(one, callerId, init)).reason;
  assert.equal(
    await reason("81", { ...base, target: toUser(UNKNOWN_USER_ID) }),
    ErrorReason.USER_NOT_FOUND,
  );
  assert.equal(
    await reason("81", { ...base, target: toConversation("77") }),
    ErrorReason.CONVERSATION_NOT_FOUND,
  );
  await pool.query(
    "UPDATE im.member SET muted_until_ms = $1 WHERE user_id = 82 AND conversation_id = $2",
    [stand.clock.now() + 1_000, group!.groupId],
  );
  assert.equal(await reason("82", toGroup), ErrorReason.MUTED);
  stand.clock.advance(2_000);
  // Another message has the second key.
  await one.append({ from: "82", to: toConversation(group!.groupId), key: "k2", text: "mine" });
  assert.equal(await reason("82", toGroup), ErrorReason.KEY_REUSED);
  const free = { ...toGroup, clientMessageIds: ["k1", "k3"] };
  const { accepted: copies } = await one.messages("82").forward(free);
  assert.deepEqual(
    copies.map(({ sequence }) => sequence),
    [3n, 4n],
  );
  await one.groups("81").removeMember({ groupId: group!.groupId, userId: "82" });
  const more = { ...toGroup, clientMessageIds: ["k1", "k5"] };
  assert.equal(await reason("82", more), ErrorReason.NOT_A_MEMBER);
  const swapped = { ...more, sequences: [2n, 1n] };
  assert.equal(await reason("82", swapped), ErrorReason.KEY_REUSED, "k1 is of another original");
});
