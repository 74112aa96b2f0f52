import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { failsWith } from "#platform/errors.fixture.ts";
import { reasonOf } from "#platform/errors.ts";
import {
  groupOf,
  type Member,
  makeAdmin,
  members,
  messageAt,
  messagesOf,
  say,
  shownText,
} from "../world/members.ts";
import { text } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

/** Unread messages, unread mentions and unread mentions of all. */
async function unreadOf({ conversations }: Member, conversationId: string) {
  const { conversation } = await conversations.getConversation({
    target: { case: "conversationId", value: conversationId },
  });
  const { unreadCount, unreadMentions, unreadMentionsOfAll } = conversation!;
  return [Number(unreadCount), unreadMentions, unreadMentionsOfAll];
}

test("a reply names its message; a recall also removes the quoted text", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, cai] = await members(world, "ana", "ben", "cai");
  const conversationId = await groupOf([ana!, ben!]);
  const quoted = await say(ana!, conversationId, "the quoted text");
  const reply = await say(ben!, conversationId, "I agree", { replyToSequence: quoted });
  const message = await messageAt(ana!, conversationId, reply);
  assert.equal(message!.replyToSequence, quoted);
  assert.equal(shownText(await messageAt(ana!, conversationId, quoted)), "the quoted text");
  await ana!.changes.recallMessages({ conversationId, sequences: [quoted] });
  for (const entry of await messagesOf(ben!, conversationId))
    assert.ok(!JSON.stringify(entry.content ?? "", noBigints).includes("quoted"));
  const invalid = failsWith("REPLY_TARGET_INVALID");
  for (const replyToSequence of [quoted, 1n, 99n])
    await assert.rejects(say(ben!, conversationId, "?", { replyToSequence }), invalid);
  await ana!.groups.addMembers({ groupId: conversationId, userIds: [cai!.userId] });
  await assert.rejects(say(cai!, conversationId, "?", { replyToSequence: reply }), invalid);
  assert.equal(await messageAt(cai!, conversationId, reply), undefined, "sent before cai joined");
});

const noBigints = (_: string, value: unknown) => (typeof value === "bigint" ? `${value}` : value);

test("mentions are counted apart, exactly, through edits, recalls and deletions", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, cai, dan] = await members(world, "ana", "ben", "cai", "dan");
  const conversationId = await groupOf([ana!, ben!, cai!]);
  const mention = (from: Member, ...users: Member[]) =>
    say(from, conversationId, "hey", { mentionedUserIds: users.map(({ userId }) => userId) });
  const one = await mention(ana!, ben!, ana!);
  const two = await mention(cai!, ben!);
  await say(ana!, conversationId, "to all", { mentionAll: true });
  assert.deepEqual(await unreadOf(ben!, conversationId), [3, 2, 1]);
  assert.deepEqual(await unreadOf(ana!, conversationId), [1, 0, 0], "own ones do not count");
  await assert.rejects(mention(ana!, dan!), failsWith("MENTION_INVALID"));
  await assert.rejects(
    say(ben!, conversationId, "all!", { mentionAll: true }),
    failsWith("MENTION_ALL_DENIED"),
  );
  await makeAdmin(world, conversationId, cai!.userId);
  await say(cai!, conversationId, "all!", { mentionAll: true });
  assert.deepEqual(await unreadOf(ben!, conversationId), [4, 2, 2]);

  const edited = { conversationId, sequence: one, clientMessageId: randomUUID() };
  await ana!.changes.editMessage({
    ...edited,
    change: { case: "text", value: { text: "hey cai" } },
    mentionedUserIds: [cai!.userId],
  });
  assert.deepEqual(await unreadOf(ben!, conversationId), [4, 1, 2]);
  assert.equal((await unreadOf(cai!, conversationId))[1], 1);
  await ben!.changes.deleteForMe({ conversationId, sequences: [two] });
  assert.deepEqual(await unreadOf(ben!, conversationId), [3, 0, 2]);
  await ana!.changes.recallMessages({ conversationId, sequences: [one, two] });
  assert.deepEqual(await unreadOf(ben!, conversationId), [2, 0, 2]);
  await ben!.messages.acknowledge({ cursors: [{ conversationId, readSequence: 4n }] });
  assert.deepEqual(await unreadOf(ben!, conversationId), [1, 0, 1]);
});

test("extra data and the silent flag arrive unchanged; more than the limits is refused", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await members(world, "ana", "ben");
  const conversationId = await groupOf([ana!, ben!]);
  const extra = Object.fromEntries(
    Array.from({ length: 16 }, (_, n) => [`${n}`.padEnd(64, "k"), "v".repeat(256)]),
  );
  const sequence = await say(ana!, conversationId, "with extra", { extra, silent: true });
  const message = await messageAt(ben!, conversationId, sequence);
  assert.deepEqual(message!.extra, extra);
  assert.equal(message!.silent, true);
  const refused = failsWith("INVALID_ARGUMENT");
  const wrong: Record<string, string>[] = [
    { ...extra, more: "" },
    { ["k".repeat(65)]: "" },
    { k: "v".repeat(257) },
    { "": "" },
  ];
  for (const extra of wrong)
    await assert.rejects(say(ana!, conversationId, "x", { extra }), refused);
  const mentionedUserIds = Array.from({ length: 51 }, (_, n) => String(n + 1));
  await assert.rejects(say(ana!, conversationId, "x", { mentionedUserIds }), refused);
});

test("a late retry of a message that was edited or recalled gets its first answer", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await members(world, "ana", "ben");
  const conversationId = await groupOf([ana!, ben!]);
  const send = (clientMessageId: string, value: string) =>
    ana!.messages.send({
      target: { case: "conversationId", value: conversationId },
      clientMessageId,
      content: text(value),
    });
  const [a, b] = [randomUUID(), randomUUID()];
  const [first, second] = [await send(a, "a"), await send(b, "b")];
  await ana!.changes.editMessage({
    conversationId,
    sequence: first.accepted!.sequence,
    clientMessageId: randomUUID(),
    change: { case: "text", value: { text: "edited" } },
  });
  await ana!.changes.recallMessages({ conversationId, sequences: [second.accepted!.sequence] });
  assert.deepEqual(await send(a, "a"), first);
  assert.deepEqual(await send(b, "b"), second);
  await assert.rejects(send(a, "edited"), failsWith("KEY_REUSED"));
  assert.equal((await messagesOf(ben!, conversationId)).length, 3);
});

test("messages are forwarded by the server, one by one or merged, with their first author", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, cai] = await members(world, "ana", "ben", "cai");
  const from = await groupOf([ana!, ben!]);
  const to = await groupOf([ben!, cai!]);
  const [one, two] = [await say(ana!, from, "one"), await say(ben!, from, "two")];
  const forward = (
    member: Member,
    sequences: bigint[],
    more: { merge?: boolean; clientMessageIds?: string[]; fromConversationId?: string } = {},
  ) =>
    member.messages.forward({
      target: { case: "conversationId", value: to },
      fromConversationId: from,
      sequences,
      clientMessageIds: (more.merge ? [1] : sequences).map(() => randomUUID()),
      ...more,
    });
  const clientMessageIds = [randomUUID(), randomUUID()];
  const first = await forward(ben!, [two, one], { clientMessageIds });
  assert.equal(first.accepted.length, 2);
  const sequences = first.accepted.map(({ sequence }) => sequence);
  const copies = await messagesOf(cai!, to);
  const seen = copies.filter(({ sequence }) => sequences.includes(sequence));
  assert.deepEqual(
    seen.map((entry) => [shownText(entry), entry.senderId, entry.origin?.senderId]),
    [
      ["two", ben!.userId, ben!.userId],
      ["one", ben!.userId, ana!.userId],
    ],
  );
  await ana!.changes.recallMessages({ conversationId: from, sequences: [one] });
  assert.deepEqual(await forward(ben!, [two, one], { clientMessageIds }), first, "a retry");
  await assert.rejects(forward(ben!, [one]), failsWith("MESSAGE_RECALLED"));
  await assert.rejects(forward(ben!, [99n]), failsWith("MESSAGE_NOT_FOUND"));
  await assert.rejects(forward(cai!, [two]), failsWith("CONVERSATION_NOT_FOUND"));
  await assert.rejects(forward(ben!, [1n]), (e) => reasonOf(e) !== undefined);

  // A copy of a copy keeps the first author.
  const again = await forward(cai!, [sequences[1]!], { fromConversationId: to });
  const [copy] = again.accepted;
  assert.equal((await messageAt(ben!, to, copy!.sequence))!.origin!.senderId, ana!.userId);

  const three = await say(ana!, from, "three");
  const merged = await forward(ben!, [three, two], { merge: true });
  const content = (await messageAt(cai!, to, merged.accepted[0]!.sequence))!.content!;
  assert.ok(content.kind.case === "merged");
  assert.deepEqual(
    content.kind.value.items.map(({ senderId, kind }) => [senderId, kind.case]),
    [
      [ben!.userId, "text"],
      [ana!.userId, "text"],
    ],
  );
  await assert.rejects(
    forward(cai!, [merged.accepted[0]!.sequence, sequences[0]!], {
      merge: true,
      fromConversationId: to,
    }),
    failsWith("FORWARD_DENIED"),
  );
  const big: bigint[] = [];
  for (let n = 0; n < 8; n++) big.push(await say(ana!, from, "字".repeat(3_000)));
  await assert.rejects(forward(ben!, big, { merge: true }), failsWith("FORWARD_TOO_LARGE"));
});
