import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { failsWith } from "#platform/errors.fixture.ts";
import {
  groupOf,
  type Member,
  members,
  messageAt,
  messagesOf,
  say,
  shownText,
} from "../world/members.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

test("reactions are sets of each user, with exact counts", { timeout: TIMEOUT }, async () => {
  const [ana, ben, cai] = await members(world, "ana", "ben", "cai");
  const conversationId = await groupOf([ana!, ben!, cai!]);
  const sequence = await say(ana!, conversationId, "lunch?");
  const react = (member: Member, ...emojis: string[]) =>
    member.changes.setReactions({ conversationId, sequence, emojis });
  await react(ana!, "👍");
  const { changedSequence } = await react(ben!, "👍", "🍕");
  assert.equal((await react(ben!, "👍", "🍕")).changedSequence, changedSequence);
  await react(cai!, "👩‍🍳");
  const { reactions } = await react(ben!, "🍕");
  assert.deepEqual(
    reactions.map(({ emoji, count }) => [emoji, count]),
    [
      ["👍", 1n],
      ["🍕", 1n],
      ["👩‍🍳", 1n],
    ],
  );
  const seen = await messageAt(ben!, conversationId, sequence);
  assert.deepEqual(seen!.state!.myReactions, ["🍕"]);
  assert.deepEqual(seen!.state!.reactions, reactions);
  const page = await cai!.history.listReactions({ conversationId, sequence, pageSize: 2 });
  assert.deepEqual(
    page.reactions.map(({ userId, emoji }) => [userId, emoji]),
    [
      [cai!.userId, "👩‍🍳"],
      [ben!.userId, "🍕"],
    ],
  );
  const rest = await cai!.history.listReactions({
    conversationId,
    sequence,
    pageSize: 2,
    pageToken: page.nextPageToken,
  });
  assert.deepEqual(
    rest.reactions.map(({ userId, emoji }) => [userId, emoji]),
    [[ana!.userId, "👍"]],
  );
  assert.equal(rest.nextPageToken, "");
  for (const emoji of ["a", "", "👍👍", "👍 ", "1"])
    await assert.rejects(react(ana!, emoji), failsWith("REACTION_INVALID"));
  const emojis = [..."😀😁😂🤣😃😄😅😆😉😊😋😎😍😘🥰😗😙"];
  for (const emoji of emojis) await react(ana!, emoji, "🍕").catch(() => {});
  await assert.rejects(
    say(ana!, conversationId, "x").then(() => react(ana!, "😀", "😁", "😂", "🤣" as string)),
    failsWith("INVALID_ARGUMENT"),
  );
});

test("a message has at most 20 different reactions", { timeout: TIMEOUT }, async () => {
  const people = await members(world, ..."abcdefgh".split(""));
  const conversationId = await groupOf(people);
  const sequence = await say(people[0]!, conversationId, "hi");
  const emojis = [..."😀😁😂🤣😃😄😅😆😉😊😋😎😍😘🥰😗😙😚🙂🤗🤩"];
  for (let n = 0; n < 20; n += 3)
    await people[n / 3]!.changes.setReactions({
      conversationId,
      sequence,
      emojis: emojis.slice(n, Math.min(n + 3, 20)),
    });
  const more = (emoji: string) =>
    people[7]!.changes.setReactions({ conversationId, sequence, emojis: [emoji] });
  await assert.rejects(more(emojis[20]!), failsWith("REACTION_LIMIT_REACHED"));
  const { reactions } = await more(emojis[0]!);
  assert.equal(reactions.length, 20);
  assert.equal(reactions[0]!.count, 2n);
});

test("owner and admins pin messages, at most 50; a recall removes the pin", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await members(world, "ana", "ben");
  const conversationId = await groupOf([ana!, ben!]);
  const sequences: bigint[] = [];
  for (let n = 0; n < 51; n++) sequences.push(await say(ben!, conversationId, `m${n}`));
  const pin = (member: Member, sequence: bigint) =>
    member.changes.pinMessage({ conversationId, sequence });
  await assert.rejects(pin(ben!, sequences[0]!), failsWith("CHANGE_DENIED"));
  const { changedSequence } = await pin(ana!, sequences[0]!);
  assert.equal((await pin(ana!, sequences[0]!)).changedSequence, changedSequence);
  for (const sequence of sequences.slice(1, 50)) await pin(ana!, sequence);
  await assert.rejects(pin(ana!, sequences[50]!), failsWith("PIN_LIMIT_REACHED"));
  const pinned = async () =>
    (await ben!.history.listPins({ conversationId })).messages.map(({ sequence }) => sequence);
  assert.deepEqual(await pinned(), sequences.slice(0, 50).toReversed());
  await ana!.changes.unpinMessage({ conversationId, sequence: sequences[49]! });
  await ana!.changes.recallMessages({ conversationId, sequences: [sequences[48]!] });
  assert.deepEqual(await pinned(), sequences.slice(0, 48).toReversed());
  await assert.rejects(pin(ana!, sequences[48]!), failsWith("MESSAGE_RECALLED"));

  // In a direct conversation both may.
  const { accepted } = await ana!.messages.send({
    target: { case: "userId", value: ben!.userId },
    clientMessageId: randomUUID(),
    content: { kind: { case: "text", value: { text: "hi" } } },
  });
  const direct = { conversationId: accepted!.conversationId, sequence: accepted!.sequence };
  await ben!.changes.pinMessage(direct);
  await ana!.changes.unpinMessage(direct);
});

test("a message that a user deleted for themselves is gone for that user alone", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await members(world, "ana", "ben");
  const conversationId = await groupOf([ana!, ben!]);
  const one = await say(ana!, conversationId, "one");
  const two = await say(ana!, conversationId, "two");
  const { nextCursor } = await ben!.messages.sync({});
  await ben!.changes.deleteForMe({ conversationId, sequences: [two, 999n] });
  await ben!.changes.deleteForMe({ conversationId, sequences: [two] });
  const shown = async (member: Member) => (await messagesOf(member, conversationId)).map(shownText);
  assert.deepEqual(await shown(ana!), ["(tip)", "one", "two"]);
  assert.deepEqual(await shown(ben!), ["(tip)", "one"]);
  assert.equal(await messageAt(ben!, conversationId, two), undefined);
  const { conversations } = await ben!.messages.sync({ cursor: nextCursor });
  const [conversation] = conversations.filter((c) => c.conversationId === conversationId);
  assert.equal(conversation!.unreadCount, 1n, "another device of ben learns of it by Sync");
  assert.equal(conversation!.lastEntry!.sequence, one);
  assert.equal(conversation!.preview!.text, "one");
  const raw = await ben!.messages.listEntries({
    conversationId,
    position: { case: "afterSequence", value: one },
  });
  assert.deepEqual(
    raw.entries.map(({ content, state }) => [content, state?.deletedForMe]),
    [[undefined, true]],
  );
  const gone = failsWith("MESSAGE_NOT_FOUND");
  const { changes } = ben!;
  await assert.rejects(changes.setReactions({ conversationId, sequence: two, emojis: [] }), gone);
});
