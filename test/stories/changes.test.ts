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
  say,
  shownText,
} from "../world/members.ts";
import { queryLogs, startWorld, untilIdsCanBeMade } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

const edit = (
  { changes }: Member,
  conversationId: string,
  sequence: bigint,
  value: string,
  more: { clientMessageId?: string; mentionedUserIds?: string[]; mentionAll?: boolean } = {},
) =>
  changes.editMessage({
    conversationId,
    sequence,
    clientMessageId: randomUUID(),
    change: { case: "text", value: { text: value } },
    ...more,
  });

test("an edited message shows its new text and a mark to everybody, and keeps its earlier versions for its author", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, cai] = await members(world, "ana", "ben", "cai");
  const conversationId = await groupOf([ana!, ben!, cai!]);
  const sequence = await say(ben!, conversationId, "helo");
  const clientMessageId = randomUUID();
  const first = await edit(ben!, conversationId, sequence, "hello", { clientMessageId });
  const repeated = await edit(ben!, conversationId, sequence, "hello", { clientMessageId });
  assert.deepEqual(repeated, first, "a retry gets the first answer");
  const second = await edit(ben!, conversationId, sequence, "hello!");
  assert.ok(second.changedSequence > first.changedSequence);
  const late = await edit(ben!, conversationId, sequence, "hello", { clientMessageId });
  assert.deepEqual(late, first, "also after a later edit");
  await assert.rejects(
    edit(ben!, conversationId, sequence + 1n, "other", { clientMessageId }),
    failsWith("KEY_REUSED"),
  );

  for (const member of [ana!, ben!, cai!]) {
    const message = await messageAt(member, conversationId, sequence);
    assert.equal(shownText(message), "hello!");
    assert.equal(message!.state!.editedAtMs, second.editedAtMs);
    assert.equal(message!.state!.changedSequence, second.changedSequence);
  }
  const versions = async (member: Member) =>
    (await member.history.listRevisions({ conversationId, sequence })).revisions.map(
      ({ content }) => content?.kind.value,
    );
  assert.deepEqual(
    (await versions(ben!)).map((value) => (value as { text: string }).text),
    ["helo", "hello"],
  );
  assert.equal((await versions(ana!)).length, 2, "the owner sees them");
  await assert.rejects(versions(cai!), failsWith("CHANGE_DENIED"));
  await assert.rejects(edit(ana!, conversationId, sequence, "mine"), failsWith("CHANGE_DENIED"));
  const raw = await ana!.messages.listEntries({
    conversationId,
    position: { case: "afterSequence", value: sequence },
  });
  const edits = raw.entries.map(({ content }) => content?.kind);
  assert.deepEqual(
    edits.map((kind) => (kind?.case === "edit" ? kind.value.change.case : kind?.case)),
    [undefined, "text"],
    "the superseded edit has no text any more",
  );
});

test("the caption of a picture can be edited; its picture and its kind stay", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await members(world, "ana", "ben");
  const conversationId = await groupOf([ana!, ben!]);
  const url = "https://example.com/cat.webp";
  const media = { source: { case: "url", value: url } } as const;
  const picture = await say(ana!, conversationId, {
    kind: { case: "image", value: { media, caption: "my cta" } },
  });
  const place = await say(ana!, conversationId, {
    kind: { case: "location", value: { latitudeDeg: 1, longitudeDeg: 2 } },
  });
  const caption = (sequence: bigint, value: string) =>
    ana!.changes.editMessage({
      conversationId,
      sequence,
      clientMessageId: randomUUID(),
      change: { case: "caption", value },
    });
  await caption(picture, "my cat");
  const kind = (await messageAt(ben!, conversationId, picture))!.content!.kind;
  assert.ok(kind.case === "image");
  assert.equal(kind.value.caption, "my cat");
  assert.equal(kind.value.media?.source.value, url);
  await assert.rejects(caption(place, "here"), failsWith("CHANGE_DENIED"));
  await assert.rejects(
    edit(ana!, conversationId, picture, "a text"),
    (error) => reasonOf(error) !== undefined,
  );
});

test("edits end with their window and their number; recalls by the author end after two minutes", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await members(world, "ana", "ben");
  const conversationId = await groupOf([ana!, ben!]);
  const sequence = await say(ben!, conversationId, "v0");
  for (let n = 1; n <= 20; n++) await edit(ben!, conversationId, sequence, `v${n}`);
  await assert.rejects(
    edit(ben!, conversationId, sequence, "v21"),
    failsWith("CHANGE_LIMIT_REACHED"),
  );
  const other = await say(ben!, conversationId, "other");
  await world.clock.advance(121_000);
  await untilIdsCanBeMade(world);
  const recall = (member: Member, ...sequences: bigint[]) =>
    member.changes.recallMessages({ conversationId, sequences });
  await assert.rejects(recall(ben!, other), failsWith("CHANGE_WINDOW_PASSED"));
  await edit(ben!, conversationId, other, "still editable");
  await recall(ana!, other);
  await assert.rejects(
    edit(ben!, conversationId, other, "too late"),
    failsWith("MESSAGE_RECALLED"),
  );
});

test("the author, admins and the owner recall messages, but an admin not those of the owner", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, cai] = await members(world, "ana", "ben", "cai");
  const conversationId = await groupOf([ana!, ben!, cai!]);
  await makeAdmin(world, conversationId, ben!.userId);
  const byOwner = await say(ana!, conversationId, "of the owner");
  const byMember = await say(cai!, conversationId, "of a member");
  const another = await say(cai!, conversationId, "another");
  const recall = (member: Member, sequences: bigint[], reason = "") =>
    member.changes.recallMessages({ conversationId, sequences, reason });
  await assert.rejects(recall(cai!, [byOwner]), failsWith("CHANGE_DENIED"));
  await assert.rejects(recall(ben!, [byMember, byOwner]), failsWith("CHANGE_DENIED"));
  assert.equal(shownText(await messageAt(ana!, conversationId, byMember)), "of a member");
  const { changedSequence } = await recall(ben!, [another, byMember], "off topic");
  for (const sequence of [byMember, another]) {
    const message = await messageAt(ana!, conversationId, sequence);
    assert.equal(message!.content, undefined);
    assert.equal(message!.state!.changedSequence, changedSequence);
    const { userId, reason, atMs } = message!.state!.recalled!;
    assert.deepEqual([userId, reason, atMs > 0n], [ben!.userId, "off topic", true]);
  }
  assert.equal((await recall(cai!, [another])).changedSequence, 0n, "a repeat changes nothing");
  assert.ok((await recall(ana!, [byOwner])).changedSequence > 0n);
});

test("outsiders, former members and muted members change nothing", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, cai] = await members(world, "ana", "ben", "cai");
  const conversationId = await groupOf([ana!, ben!]);
  const sequence = await say(ben!, conversationId, "mine");
  const all = (member: Member) => [
    () => edit(member, conversationId, sequence, "x"),
    () => member.changes.recallMessages({ conversationId, sequences: [sequence] }),
    () => member.changes.setReactions({ conversationId, sequence, emojis: ["👍"] }),
    () => member.changes.pinMessage({ conversationId, sequence }),
    () => member.changes.unpinMessage({ conversationId, sequence }),
  ];
  const hidden = failsWith("CONVERSATION_NOT_FOUND");
  for (const call of all(cai!)) await assert.rejects(call(), hidden);
  await assert.rejects(cai!.changes.deleteForMe({ conversationId, sequences: [sequence] }), hidden);
  await queryLogs(
    world,
    "UPDATE im.member SET muted_until_ms = 9000000000000 WHERE conversation_id = $1 AND user_id = $2",
    [conversationId, ben!.userId],
  );
  await assert.rejects(edit(ben!, conversationId, sequence, "x"), failsWith("MUTED"));
  await assert.rejects(
    ben!.changes.setReactions({ conversationId, sequence, emojis: ["👍"] }),
    failsWith("MUTED"),
  );
  await ana!.groups.removeMember({ groupId: conversationId, userId: ben!.userId });
  for (const call of all(ben!)) await assert.rejects(call(), hidden);
  await ben!.changes.deleteForMe({ conversationId, sequences: [sequence] });
  assert.equal(await messageAt(ben!, conversationId, sequence), undefined);
  assert.equal(shownText(await messageAt(ana!, conversationId, sequence)), "mine");
});

test("a former member keeps what a message said at the time of leaving, but not a recalled one", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await members(world, "ana", "ben");
  const conversationId = await groupOf([ana!, ben!]);
  const kept = await say(ana!, conversationId, "first version");
  const gone = await say(ana!, conversationId, "to be recalled");
  await edit(ana!, conversationId, kept, "second version");
  await ana!.groups.removeMember({ groupId: conversationId, userId: ben!.userId });
  await edit(ana!, conversationId, kept, "third version");
  await ana!.changes.setReactions({ conversationId, sequence: kept, emojis: ["🤫"] });
  await ana!.changes.recallMessages({ conversationId, sequences: [gone] });
  assert.equal(shownText(await messageAt(ana!, conversationId, kept)), "third version");
  const seen = await messageAt(ben!, conversationId, kept);
  assert.equal(shownText(seen), "second version");
  assert.deepEqual(seen?.state?.reactions ?? [], []);
  const recalled = await messageAt(ben!, conversationId, gone);
  assert.equal(recalled?.content, undefined);
  const changed = await ben!.history.listChangedMessages({
    conversationId,
    afterSequence: gone,
    fromSequence: 1n,
    toSequence: gone,
  });
  assert.deepEqual(
    changed.messages.map((entry) => [entry.sequence, shownText(entry)]),
    [
      [kept, "second version"],
      [gone, "(undefined)"],
    ],
    "the edit before leaving is told, although the message changed again",
  );
  const { accepted } = await ben!.messages.forward({
    target: { case: "userId", value: ana!.userId },
    fromConversationId: conversationId,
    sequences: [kept],
    clientMessageIds: [randomUUID()],
  });
  const copy = await messageAt(ana!, accepted[0]!.conversationId, accepted[0]!.sequence);
  assert.equal(shownText(copy), "second version", "also when they forward it");
});

test("a device that was away makes the messages that it has exact in one call", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await members(world, "ana", "ben");
  const conversationId = await groupOf([ana!, ben!]);
  const sequences: bigint[] = [];
  for (let n = 0; n < 10; n++) sequences.push(await say(ana!, conversationId, `m${n}`));
  const held = sequences.at(-1)!;
  for (let n = 0; n < 5; n++) {
    await edit(ana!, conversationId, sequences[2]!, `edit ${n}`);
    await ben!.changes.setReactions({
      conversationId,
      sequence: sequences[3]!,
      emojis: n % 2 ? ["👍"] : [],
    });
  }
  await ana!.changes.recallMessages({ conversationId, sequences: [sequences[7]!, sequences[5]!] });
  const later = await say(ana!, conversationId, "later");
  await edit(ana!, conversationId, later, "later, edited");
  const changed: [bigint, string][] = [];
  for (let pageToken = ""; ; ) {
    const page = await ben!.history.listChangedMessages({
      conversationId,
      afterSequence: held,
      fromSequence: 1n,
      toSequence: held,
      pageSize: 2,
      pageToken,
    });
    for (const entry of page.messages) changed.push([entry.sequence, shownText(entry)]);
    pageToken = page.nextPageToken;
    if (pageToken === "") break;
  }
  assert.deepEqual(changed, [
    [sequences[2], "edit 4"],
    [sequences[3], "m3"],
    [sequences[5], "(undefined)"],
    [sequences[7], "(undefined)"],
  ]);
});
