import assert from "node:assert/strict";
import { after, test } from "node:test";
import { failsWith } from "#platform/errors.fixture.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { contentOf, Stand, untilOutboxEmpty } from "../server.fixture.ts";
import { textOf } from "../subscriber.fixture.ts";
import { Talk } from "./changes.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

/** All rows of all tables of the log that contain a text, as text or as bytes. */
async function rowsWith(text: string): Promise<string[]> {
  const { rows: tables } = await pool.query<{ table: string }>(
    `SELECT table_name AS table FROM information_schema.tables
      WHERE table_schema = 'im' AND table_type = 'BASE TABLE'`,
  );
  const hex = Buffer.from(text).toString("hex");
  const found: string[] = [];
  for (const { table } of tables) {
    const { rows } = await pool.query<{ row: string }>(
      `SELECT t::text AS row FROM im.${table} t WHERE strpos(t::text, $1) + strpos(t::text, $2) > 0`,
      [text, hex],
    );
    found.push(...rows.map(({ row }) => `${table}: ${row}`));
  }
  assert.ok(tables.length > 15);
  return found;
}

test("after a recall no table contains any version of the text, its mentions or its reactions", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 2 });
  const [owner, author, reader] = [talk.owner, ...talk.others] as [string, string, string];
  const canary = "canary-4711";
  const mentionedUserIds = [reader];
  const sequence = await talk.send(author, `sent ${canary}`, "key");
  await talk.edit(author, sequence, `first ${canary}`, { mentionedUserIds });
  await talk.edit(author, sequence, `second ${canary}`, { mentionedUserIds, key: "edit" });
  const picture = await talk.send(author, {
    kind: { case: "location", value: { latitudeDeg: 1, longitudeDeg: 2, title: canary } },
    fallbackText: canary,
  });
  await talk.react(reader, sequence, "👍");
  await talk.pin(owner, sequence);
  assert.equal((await talk.conversation(reader)).unreadMentions, 1);
  assert.equal((await rowsWith(canary)).length, 5, "two messages, two versions, one edit entry");

  const changedSequence = await talk.recall(author, picture, sequence);
  assert.deepEqual(await rowsWith(canary), []);
  await untilOutboxEmpty(stand);
  assert.deepEqual(await rowsWith(canary), []);
  const entries = await talk.entries(reader);
  assert.deepEqual(entries.map(textOf), [
    ...["(tip)", "(undefined)", "(edit)", "(edit)", "(undefined)"],
    ...["(reactions)", "(pin)", "(recall)"],
  ]);
  const recall = { targetSequences: [sequence, picture], reason: "spam" };
  assert.partialDeepStrictEqual(entries.at(-1)!.content!.kind.value, recall);
  const { clientMessageId, state, mentionedUserIds: mentioned } = entries[1]!;
  assert.deepEqual([clientMessageId, mentioned], ["key", []]);
  const recalled = { userId: author, atMs: BigInt(stand.clock.now()), reason: "spam" };
  assert.partialDeepStrictEqual(state, {
    ...{ changedSequence, editedAtMs: 0n, reactions: [], myReactions: [], pinnedSequence: 0n },
    recalled: { userId: recalled.userId, reason: "spam" },
  });
  assert.equal(entries[3]!.clientMessageId, "edit");
  assert.ok(entries[3]!.notShown, "the flags of the edit's entry stay");
  for (const table of ["mention", "reaction"]) assert.deepEqual(await talk.rows(table), []);
  assert.deepEqual(await talk.rows("withdrawn"), [
    { sequence: String(sequence), sender_id: author },
    { sequence: String(picture), sender_id: author },
  ]);
  assert.deepEqual(await talk.rows("message_state", "state"), [
    ...[
      {
        sequence: String(sequence),
        changed_sequence: "8",
        recalled: true,
        edits: 2,
        pinned_sequence: "0",
      },
      {
        sequence: String(picture),
        changed_sequence: "8",
        recalled: true,
        edits: 0,
        pinned_sequence: "0",
      },
    ],
  ]);
  const { unreadCount, unreadMentions, preview } = await talk.conversation(reader);
  assert.deepEqual([unreadCount, unreadMentions, preview!.kind, preview!.text], [0n, 0, 0, ""]);
});

test("a recall is for the author within the window, and for admins except for messages of the owner", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 4, config: { recallWindowMs: 1_000 } });
  const [owner, admin, deputy, ben, cleo] = [talk.owner, ...talk.others] as [
    ...[string, string, string, string, string],
  ];
  await talk.setMember(admin, "role", 2);
  await talk.setMember(deputy, "role", 2);
  const of = async (from: string) => talk.send(from, `by ${from}`);
  const denied = failsWith("CHANGE_DENIED");
  const passed = failsWith("CHANGE_WINDOW_PASSED");
  const early = await of(ben);
  const late = await of(ben);
  const [byOwner, byAdmin, byCleo] = [await of(owner), await of(admin), await of(cleo)];
  await assert.rejects(talk.recall(cleo, early), denied);
  await talk.setMember(ben, "muted_until_ms", stand.clock.now() + 10_000);
  stand.clock.advance(1_000);
  assert.ok(await talk.recall(ben, early), "also a muted author");
  stand.clock.advance(1);
  await assert.rejects(talk.recall(ben, late), passed);
  await assert.rejects(talk.recall(admin, byCleo, byOwner), denied);
  assert.equal((await talk.entry(ben, byCleo)).state, undefined, "nothing was recalled");
  await talk.recall(admin, byCleo, late);
  await talk.recall(deputy, byAdmin);
  await talk.recall(owner, byOwner);

  const off = talk.on(await stand.server({ recallWindowMs: 0 }));
  const fresh = await off.send(cleo, "fresh", "fresh");
  await assert.rejects(off.recall(cleo, fresh), passed);
  assert.ok(await off.recall(owner, fresh));
  const direct = await Talk.direct(stand);
  await assert.rejects(direct.recall(direct.others[0]!, 1n), denied);
  assert.ok(await direct.recall(direct.owner, 1n));
});

test("a repeated recall changes nothing, and skips what was recalled before", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.direct(stand);
  const { owner } = talk;
  const second = await talk.send(owner, "second");
  const raced = await Promise.all([talk.recall(owner, 1n), talk.recall(owner, 1n)]);
  assert.deepEqual(raced.sort(), [0n, 3n]);
  assert.equal(await talk.recall(owner, 1n), 0n);
  stand.clock.advance(3_600_000);
  assert.equal(await talk.recall(owner, 1n), 0n, "also after the window");
  stand.clock.step(-3_600_000);
  assert.equal(await talk.recall(owner, second, 1n), 4n);
  const last = (await talk.entries(owner)).at(-1)!;
  assert.partialDeepStrictEqual(last.content!.kind.value, { targetSequences: [second] });
  assert.equal((await talk.rows("withdrawn")).length, 2);
});

test("a recall of a message that the caller may not see is refused", async (t) => {
  const talk = await Talk.group(new Stand(t, pool), { others: 1 });
  const [owner, ben] = [talk.owner, talk.others[0]!];
  const sequence = await talk.send(owner, "text");
  const notFound = failsWith("MESSAGE_NOT_FOUND");
  for (const wrong of [1n, 99n]) {
    await assert.rejects(talk.recall(owner, sequence, wrong), notFound);
    await assert.rejects(talk.recall(owner, wrong), notFound);
  }
  await assert.rejects(talk.recall("9", sequence), failsWith("CONVERSATION_NOT_FOUND"));
  await talk.server.groups(ben).removeMember({ groupId: talk.id, userId: ben });
  await assert.rejects(talk.recall(ben, sequence), failsWith("CONVERSATION_NOT_FOUND"));
  await talk.hide(owner, sequence);
  await assert.rejects(talk.recall(owner, sequence), notFound);
});

test("a late retry of a recalled send does not bring the text back", async (t) => {
  const talk = await Talk.direct(new Stand(t, pool));
  await talk.recall(talk.owner, 1n);
  const retry = talk.server.messages(talk.owner).send({
    target: { case: "conversationId", value: talk.id },
    clientMessageId: "first",
    content: contentOf("first"),
  });
  await retry.catch(() => {});
  assert.deepEqual((await talk.entries(talk.owner)).map(textOf), ["(undefined)", "(recall)"]);
});

test("a former member sees that a message was recalled later, but not the reason for the members", async (t) => {
  const talk = await Talk.group(new Stand(t, pool), { others: 1 });
  const [owner, leaver] = [talk.owner, talk.others[0]!];
  const [before, after] = [await talk.send(owner, "before"), await talk.send(owner, "after")];
  await talk.recall(owner, before);
  await talk.server.groups(leaver).removeMember({ groupId: talk.id, userId: leaver });
  await talk.recall(owner, after);
  const reasonFor = async (userId: string, sequence: bigint) => {
    const { content, state } = await talk.entry(userId, sequence);
    assert.equal(content, undefined);
    return state!.recalled!.reason;
  };
  const seen = await Promise.all([before, after].map((one) => reasonFor(leaver, one)));
  assert.deepEqual(seen, ["spam", ""]);
  assert.equal(await reasonFor(owner, after), "spam");
});
