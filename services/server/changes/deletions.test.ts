import assert from "node:assert/strict";
import { after, test } from "node:test";
import { failsWith } from "#platform/errors.fixture.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { Stand } from "../server.fixture.ts";
import { textOf } from "../subscriber.fixture.ts";
import { Talk } from "./changes.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("a deletion hides messages from one user only, and does not count them as unread", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 2 });
  const [ana, ben, cleo] = [talk.owner, ...talk.others] as [string, string, string];
  const first = await talk.send(ana, "first");
  const own = await talk.send(ben, "own");
  const last = await talk.send(ana, "last");
  assert.equal((await talk.conversation(ben)).unreadCount, 2n);
  await talk.hide(ben, last, 1n, own, 99n);
  const texts = async (userId: string) => (await talk.entries(userId)).map(textOf);
  assert.deepEqual(await texts(ben), ["(tip)", "first", "(undefined)", "(undefined)"]);
  assert.deepEqual(await texts(cleo), ["(tip)", "first", "own", "last"]);
  const { state, clientMessageId } = await talk.entry(ben, last);
  assert.deepEqual([state!.deletedForMe, clientMessageId], [true, "send-3"]);
  const { unreadCount, lastEntry, lastSequence } = await talk.conversation(ben);
  assert.deepEqual([unreadCount, lastEntry!.sequence, lastSequence], [1n, first, last]);
  assert.deepEqual(
    (await talk.rows("hidden")).map(({ sequence, user_id, counted }) => [
      sequence,
      user_id,
      counted,
    ]),
    [
      [String(own), ben, false],
      [String(last), ben, true],
    ],
  );
  // It stays hidden, and counts once, when the author edits or recalls it.
  await talk.edit(ana, last, "edited");
  assert.equal(textOf(await talk.entry(ben, last)), "(undefined)");
  const edits = async (userId: string) => {
    const kinds = (await talk.entries(userId)).map(({ content }) => content?.kind);
    return kinds.flatMap((kind) => (kind?.case === "edit" ? [kind.value.change.value] : []));
  };
  assert.deepEqual(await edits(ben), [undefined], "the entry of the edit does not tell the text");
  assert.partialDeepStrictEqual(await edits(cleo), [{ text: "edited" }]);
  await talk.recall(ana, last);
  assert.equal((await talk.conversation(ben)).unreadCount, 1n);
});

test("Sync tells the user's devices of a deletion once, and a repeat changes nothing", async (t) => {
  const talk = await Talk.direct(new Stand(t, pool));
  const ben = talk.others[0]!;
  const messages = talk.server.messages(ben);
  const { nextCursor: cursor } = await messages.sync({});
  assert.deepEqual((await messages.sync({ cursor })).conversations, []);
  await talk.hide(ben, 1n);
  const changed = await messages.sync({ cursor });
  assert.deepEqual(
    changed.conversations.map(({ conversationId, unreadCount }) => [conversationId, unreadCount]),
    [[talk.id, 0n]],
  );
  await Promise.all([talk.hide(ben, 1n), talk.hide(ben, 1n, 5n)]);
  assert.deepEqual((await messages.sync({ cursor: changed.nextCursor })).conversations, []);
  assert.equal((await talk.entries(ben)).length, 1, "no entry");
});

test("a former member deletes what it may see, and a stranger nothing", async (t) => {
  const talk = await Talk.group(new Stand(t, pool), { others: 2 });
  const [ana, ben, dora] = [talk.owner, ...talk.others] as [string, string, string];
  const seen = await talk.send(ana, "seen");
  await talk.server.groups(ben).removeMember({ groupId: talk.id, userId: ben });
  const later = await talk.send(ana, "later");
  const messages = talk.server.messages(ben);
  const { nextCursor: cursor } = await messages.sync({});
  await talk.hide(ben, seen, later);
  assert.deepEqual(
    (await talk.rows("hidden")).map(({ sequence }) => sequence),
    [String(seen)],
  );
  assert.equal((await messages.sync({ cursor })).conversations.length, 1);
  await talk.server.groups(dora).removeMember({ groupId: talk.id, userId: dora });
  await talk.server.groups(ana).addMembers({ groupId: talk.id, userIds: [dora] });
  await talk.hide(dora, seen);
  assert.equal((await talk.rows("hidden")).length, 1, "from before the membership");
  await assert.rejects(talk.hide("9", seen), failsWith("CONVERSATION_NOT_FOUND"));
});
