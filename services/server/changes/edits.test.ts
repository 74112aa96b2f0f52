import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { failsWith } from "#platform/errors.fixture.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { Stand } from "../server.fixture.ts";
import { textOf } from "../subscriber.fixture.ts";
import { Talk } from "./changes.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

const media = { source: { case: "url", value: "https://a/b.webp" } } as const;
const image = (caption: string) =>
  ({ kind: { case: "image", value: { media, widthPx: 3, caption } }, fallbackText: "f" }) as const;
const place = { kind: { case: "location", value: { latitudeDeg: 1, longitudeDeg: 2 } } } as const;

test("an edit replaces the text for all readers, keeps the earlier versions, and is delivered live", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 1 });
  const [author, reader] = [talk.owner, talk.others[0]!];
  const live = await stand.instance("connect-0", [`g:${talk.id}`]);
  const sequence = await talk.send(author, "one", "key");
  const sentAtMs = stand.clock.now();
  stand.clock.advance(10);
  const first = await talk.edit(author, sequence, "two");
  stand.clock.advance(10);
  const second = await talk.edit(author, sequence, "three");
  assert.deepEqual([first.changedSequence, second.changedSequence], [3n, 4n]);
  assert.deepEqual(second.editedAtMs, BigInt(stand.clock.now()));

  const entries = await talk.entries(reader);
  assert.deepEqual(entries.map(textOf), ["(tip)", "three", "(edit)", "(edit)"]);
  const { state, clientMessageId, senderId } = entries[1]!;
  assert.deepEqual([clientMessageId, senderId], ["key", author]);
  assert.deepEqual([state!.changedSequence, state!.editedAtMs], [4n, second.editedAtMs]);
  const edits = entries.slice(2).map(({ content }) => content!.kind.value);
  assert.partialDeepStrictEqual(edits, [
    { targetSequence: 2n, change: { case: undefined } },
    { targetSequence: 2n, change: { case: "text", value: { text: "three" } } },
  ]);
  assert.ok(entries[2]!.notShown && entries[2]!.notCounted);

  await live.until(({ entries }) => entries.length === 3);
  assert.deepEqual(live.texts, ["one", "(edit)", "(edit)"]);
  const revisions = await talk.rows("revision");
  assert.deepEqual(
    revisions.map(({ body }) => textOf(fromBinary(EntrySchema, body as Buffer))),
    ["one", "two"],
  );
  assert.partialDeepStrictEqual(revisions, [
    { sequence: "2", revision: 0, edit_sequence: "3", at_ms: String(sentAtMs) },
    { sequence: "2", revision: 1, edit_sequence: "4", at_ms: String(first.editedAtMs) },
  ]);
  const states = await talk.rows("message_state", "state");
  assert.deepEqual(states, [
    { sequence: "2", changed_sequence: "4", recalled: false, edits: 2, pinned_sequence: "0" },
  ]);
  const { preview, unreadCount } = await talk.conversation(reader);
  assert.deepEqual([preview!.text, unreadCount], ["three", 1n]);
});

test("an edit changes the text or the caption of its message, and nothing else", async (t) => {
  const talk = await Talk.group(new Stand(t, pool), { others: 0 });
  const { owner } = talk;
  const picture = await talk.send(owner, image("old"));
  await talk.caption(owner, picture, "new");
  const { content } = await talk.entry(owner, picture);
  assert.partialDeepStrictEqual(content, image("new"));
  await talk.caption(owner, picture, "");
  assert.partialDeepStrictEqual((await talk.entry(owner, picture)).content, image(""));
  const invalid = failsWith("INVALID_ARGUMENT");
  await assert.rejects(talk.edit(owner, picture, "text"), invalid);
  const text = await talk.send(owner, "text");
  await assert.rejects(talk.caption(owner, text, "caption"), invalid);
  const location = await talk.send(owner, place);
  await assert.rejects(talk.caption(owner, location, "caption"), failsWith("CHANGE_DENIED"));
});

test("only the author edits, and only a message that the author sees and that was not recalled", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 3 });
  const [owner, author, other, leaver] = [talk.owner, ...talk.others] as [
    ...[string, string, string, string],
  ];
  const sequence = await talk.send(author, "text");
  const left = await talk.send(leaver, "left");
  const notFound = failsWith("MESSAGE_NOT_FOUND");
  await assert.rejects(talk.edit(owner, sequence, "x"), failsWith("CHANGE_DENIED"));
  await assert.rejects(talk.edit(author, 1n, "x"), notFound, "a tip");
  await assert.rejects(talk.edit(author, 99n, "x"), notFound, "no entry");
  const { changedSequence } = await talk.edit(author, sequence, "y");
  await assert.rejects(talk.edit(author, changedSequence, "x"), notFound, "a change");

  const unknown = failsWith("CONVERSATION_NOT_FOUND");
  await assert.rejects(talk.edit("9", sequence, "x"), unknown, "a stranger");
  const missing = { conversationId: "1023", sequence: 1n, clientMessageId: "k" };
  const change = { case: "caption", value: "" } as const;
  await assert.rejects(talk.server.changes(owner).editMessage({ ...missing, change }), unknown);
  const groups = talk.server.groups(leaver);
  await groups.removeMember({ groupId: talk.id, userId: leaver });
  await assert.rejects(talk.edit(leaver, left, "x"), unknown, "a former member");
  await talk.server.groups(owner).addMembers({ groupId: talk.id, userIds: [leaver] });
  await assert.rejects(talk.edit(leaver, left, "x"), notFound, "from before the membership");

  await talk.setMember(author, "muted_until_ms", stand.clock.now() + 1_000);
  await assert.rejects(talk.edit(author, sequence, "x"), failsWith("MUTED"));
  stand.clock.advance(1_000);
  await talk.edit(author, sequence, "z");
  const hidden = await talk.send(author, "hidden");
  await talk.hide(author, hidden);
  await assert.rejects(talk.edit(author, hidden, "x"), notFound, "deleted for themselves");
  await talk.recall(author, sequence);
  await assert.rejects(talk.edit(author, sequence, "x"), failsWith("MESSAGE_RECALLED"));
  assert.equal((await talk.entries(other)).length, 9, "a refusal takes no sequence");
});

test("a forwarded message cannot be edited: it names the author of the original", async (t) => {
  const talk = await Talk.group(new Stand(t, pool), { others: 1 });
  const [owner, author] = [talk.owner, talk.others[0]!];
  const original = await talk.send(author, "their words");
  const { accepted } = await talk.server.messages(owner).forward({
    target: { case: "conversationId", value: talk.id },
    fromConversationId: talk.id,
    sequences: [original],
    clientMessageIds: ["copy"],
  });
  const { sequence } = accepted[0]!;
  await assert.rejects(talk.edit(owner, sequence, "other words"), failsWith("CHANGE_DENIED"));
  const copy = await talk.entry(author, sequence);
  assert.deepEqual([textOf(copy), copy.origin!.senderId], ["their words", author]);
  await talk.edit(author, original, "my words");
});

test("edits end after the window and after the maximum number", async (t) => {
  const stand = new Stand(t, pool);
  const config = { editWindowMs: 1_000, maxEdits: 2 };
  const talk = await Talk.group(stand, { others: 0, config });
  const { owner } = talk;
  const sequence = await talk.send(owner, "0");
  await talk.edit(owner, sequence, "1");
  stand.clock.advance(1_000);
  await talk.edit(owner, sequence, "2");
  await assert.rejects(talk.edit(owner, sequence, "3"), failsWith("CHANGE_LIMIT_REACHED"));
  stand.clock.advance(1);
  await assert.rejects(talk.edit(owner, sequence, "3"), failsWith("CHANGE_WINDOW_PASSED"));
  const off = talk.on(await stand.server({ editWindowMs: 0 }));
  const fresh = await off.send(owner, "0", "fresh");
  await assert.rejects(off.edit(owner, fresh, "1"), failsWith("CHANGE_WINDOW_PASSED"));
});

test("a retry of an edit returns the first answer, also when the message was changed later", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 0 });
  const other = talk.on(await stand.server());
  const { owner } = talk;
  const sequence = await talk.send(owner, "0", "sent");
  const [key, reused] = ["k", failsWith("KEY_REUSED")];
  const raced = await Promise.all(
    [talk, other, talk, other].map((one) => one.edit(owner, sequence, "1", { key })),
  );
  for (const one of raced) assert.deepEqual(one, raced[0]);
  assert.equal((await talk.rows("revision")).length, 1);
  stand.clock.advance(5);
  assert.deepEqual(await talk.edit(owner, sequence, "1", { key }), raced[0]);
  await assert.rejects(talk.edit(owner, sequence, "2", { key }), reused);
  const mentionAll = { key, mentionAll: true };
  await assert.rejects(talk.edit(owner, sequence, "1", mentionAll), reused);
  await assert.rejects(talk.edit(owner, sequence, "1", { key: "sent" }), reused, "of a send");

  await talk.edit(owner, sequence, "2");
  assert.deepEqual(await talk.edit(owner, sequence, "1", { key }), raced[0], "superseded");
  const second = await talk.send(owner, "0");
  await assert.rejects(talk.edit(owner, second, "1", { key }), reused, "another message");
  await talk.recall(owner, sequence);
  await talk.setMember(owner, "muted_until_ms", stand.clock.now() + 1_000);
  assert.deepEqual(await talk.edit(owner, sequence, "1", { key }), raced[0], "recalled");
});

test("an edit replaces the mentions, of members only, and of all only by admins", async (t) => {
  const talk = await Talk.group(new Stand(t, pool), { others: 3 });
  const [author, ben, cleo] = talk.others as [string, string, string];
  const sequence = await talk.send(author, "hi");
  const mentionedUserIds = [author, ben, cleo];
  await talk.edit(author, sequence, "hi you", { mentionedUserIds });
  const mentioned = async () =>
    (await talk.rows("mention", "sequence")).map((row) => [row.user_id, row.sender_id]).sort();
  assert.deepEqual(await mentioned(), [
    [ben, author],
    [cleo, author],
  ]);
  assert.equal((await talk.conversation(ben)).unreadMentions, 1);
  assert.deepEqual((await talk.entry(ben, sequence)).mentionedUserIds, mentionedUserIds);

  await talk.edit(author, sequence, "hi cleo", { mentionedUserIds: [cleo] });
  assert.deepEqual(await mentioned(), [[cleo, author]]);
  const stranger = { mentionedUserIds: [cleo, "9"] };
  await assert.rejects(talk.edit(author, sequence, "x", stranger), failsWith("MENTION_INVALID"));
  const all = { mentionAll: true };
  await assert.rejects(talk.edit(author, sequence, "x", all), failsWith("MENTION_ALL_DENIED"));
  await talk.setMember(author, "role", 2);
  await talk.edit(author, sequence, "hi all", all);
  assert.deepEqual(await mentioned(), [["0", author]]);
  assert.equal((await talk.conversation(ben)).unreadMentionsOfAll, 1);
  await talk.edit(author, sequence, "hi");
  assert.deepEqual(await mentioned(), []);

  const direct = await Talk.direct(new Stand(t, pool));
  await direct.edit(direct.owner, 1n, "hi all", all);
  assert.ok((await direct.entry(direct.others[0]!, 1n)).mentionAll);
});
