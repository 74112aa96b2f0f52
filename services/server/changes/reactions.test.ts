import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { failsWith } from "#platform/errors.fixture.ts";
import { detailOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { random } from "../random.fixture.ts";
import { Stand } from "../server.fixture.ts";
import { folded, reactionsOf, Talk } from "./changes.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

const EMOJIS = ["👍", "❤️", "😂", "🎉", "👨‍👩‍👧", "🇩🇪", "1️⃣", "👍🏽"];

/** Users by emoji and message in the table. */
async function stored(talk: Talk): Promise<Map<string, Set<string>>> {
  const users = new Map<string, Set<string>>();
  for (const { sequence, emoji, user_id } of await talk.rows("reaction")) {
    const key = `${sequence} ${emoji}`;
    users.set(key, (users.get(key) ?? new Set()).add(String(user_id)));
  }
  return users;
}

/** Counts and own reactions of the state of a message. */
async function state(talk: Talk, userId: string, sequence: bigint) {
  const { state } = await talk.entry(userId, sequence);
  return [
    state!.reactions.map(({ emoji, count, recentUserIds }) => [emoji, count, recentUserIds]),
    state!.myReactions,
  ];
}

test("a call sets all reactions of its user, and a repeat takes no sequence", async (t) => {
  const talk = await Talk.direct(new Stand(t, pool));
  const [ana, ben] = [talk.owner, talk.others[0]!];
  const first = await talk.react(ana, 1n, "👍", "🎉");
  assert.equal(first.changedSequence, 2n);
  const again = await talk.react(ana, 1n, "🎉", "👍");
  assert.deepEqual(again, first);
  assert.equal((await talk.react(ben, 1n)).changedSequence, 2n, "nothing to remove");
  const { reactions } = await talk.react(ben, 1n, "👍");
  assert.deepEqual(
    reactions.map(({ emoji, count, recentUserIds }) => [emoji, count, recentUserIds]),
    [
      ["👍", 2n, [ben, ana]],
      ["🎉", 1n, [ana]],
    ],
  );
  await talk.react(ana, 1n, "❤️");
  assert.deepEqual(await state(talk, ana, 1n), [
    [
      ["👍", 1n, [ben]],
      ["❤️", 1n, [ana]],
    ],
    ["❤️"],
  ]);
  assert.deepEqual((await state(talk, ben, 1n))[1], ["👍"]);
  await talk.react(ana, 1n);
  const { changedSequence } = await talk.react(ben, 1n);
  assert.equal(changedSequence, 6n);
  assert.deepEqual(await state(talk, ana, 1n), [[], []]);
  const entries = await talk.entries(ben);
  assert.equal(entries.length, 6);
  assert.equal(folded(entries).size, 0);
});

test("a reaction is exactly one emoji, at most three of them, each once", async (t) => {
  const talk = await Talk.direct(new Stand(t, pool));
  const react = (...emojis: string[]) => talk.react(talk.owner, 1n, ...emojis);
  for (const emoji of EMOJIS) await react(emoji);
  const long = "👩🏽‍❤️‍💋‍👨🏻";
  const wrong = ["", "a", "1", "👍👍", "👍 ", "❤", "©", "🇩", "\u200d", "👍\u0301", long];
  for (const emoji of wrong)
    await assert.rejects(react(emoji), failsWith("REACTION_INVALID"), emoji);
  await assert.rejects(react("👍", "a"), (error) => {
    assert.equal(detailOf(error)!.field, "emojis[1]");
    return failsWith("REACTION_INVALID")(error);
  });
  await assert.rejects(react("👍", "👍"), failsWith("INVALID_ARGUMENT"));
  await assert.rejects(react(...EMOJIS.slice(0, 4)), failsWith("INVALID_ARGUMENT"));
  await react(...EMOJIS.slice(0, 3));
});

test("each call of a batch gets its own refusal", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 4 });
  const [owner, muted, leaver, late, ben] = [talk.owner, ...talk.others] as [
    ...[string, string, string, string, string],
  ];
  const sequence = await talk.send(owner, "text");
  const gone = await talk.send(owner, "gone");
  await talk.recall(owner, gone);
  await talk.setMember(muted, "muted_until_ms", stand.clock.now() + 1);
  for (const userId of [leaver, late])
    await talk.server.groups(userId).removeMember({ groupId: talk.id, userId });
  await talk.server.groups(owner).addMembers({ groupId: talk.id, userIds: [late] });
  await talk.hide(ben, 2n);
  const before = (await talk.entries(owner)).length;
  const calls = [
    [muted, sequence, "MUTED"],
    [leaver, sequence, "CONVERSATION_NOT_FOUND"],
    ["9", sequence, "CONVERSATION_NOT_FOUND"],
    [late, sequence, "MESSAGE_NOT_FOUND"],
    [ben, sequence, "MESSAGE_NOT_FOUND"],
    [owner, 1n, "MESSAGE_NOT_FOUND"],
    [owner, 99n, "MESSAGE_NOT_FOUND"],
    [owner, gone, "MESSAGE_RECALLED"],
  ] as const;
  const refusals = calls.map(([userId, target, reason]) =>
    assert.rejects(talk.react(userId, target, "👍"), failsWith(reason), reason),
  );
  const accepted = await talk.react(owner, sequence, "🎉");
  await Promise.all(refusals);
  assert.equal(accepted.changedSequence, BigInt(before + 1));
  assert.equal((await talk.entries(owner)).length, before + 1);
  const missing = { conversationId: "1023", sequence: 1n, emojis: ["👍"] };
  const unknown = talk.server.changes(owner).setReactions(missing);
  await assert.rejects(unknown, failsWith("CONVERSATION_NOT_FOUND"));
});

test("a message has a maximum number of different reactions", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 2, config: { maxReactionKinds: 2 } });
  const [ana, ben, cleo] = [talk.owner, ...talk.others] as [string, string, string];
  const sequence = await talk.send(ana, "text");
  const reached = failsWith("REACTION_LIMIT_REACHED");
  await assert.rejects(talk.react(ana, sequence, "👍", "🎉", "❤️"), reached);
  await talk.react(ana, sequence, "👍", "🎉");
  const [refused, joined] = await Promise.allSettled([
    talk.react(ben, sequence, "❤️"),
    talk.react(cleo, sequence, "👍"),
  ]);
  assert.deepEqual([refused.status, joined.status], ["rejected", "fulfilled"]);
  await talk.react(ana, sequence, "👍", "❤️");
  await talk.react(ben, sequence, "❤️");
  assert.deepEqual(await stored(talk), folded(await talk.entries(ben)));

  const off = talk.on(await stand.server({ maxReactionKinds: 0 }));
  await assert.rejects(off.react(cleo, sequence, "👍"), reached);
  await off.react(ben, sequence);
  assert.equal((await state(talk, ana, sequence))[0]!.length, 2);
});

/** A group with so many users that its reactions are spaced. */
async function crowd(stand: Stand, others: number) {
  const talk = await Talk.group(stand, { others });
  return { talk, sequence: await talk.send(talk.owner, "text"), users: talk.others };
}

test("in a large group the reactions within the spacing share one entry", async (t) => {
  for (const [members, spacingMs] of [
    [101, 500],
    [1_001, 2_000],
  ] as const) {
    const stand = new Stand(t, pool);
    const { talk, sequence, users } = await crowd(stand, members - 1);
    await talk.react(users[0]!, sequence, "👍");
    const wished = users.slice(1, 61).map((userId) => talk.react(userId, sequence, "👍", "🎉"));
    let answered = 0;
    for (const one of wished) void one.then(() => answered++);
    stand.clock.advance(spacingMs - 1);
    await setImmediate();
    // The last call of a user wins.
    const last = talk.react(users[1]!, sequence, "❤️");
    assert.equal((await talk.entries(talk.owner)).length, 3);
    assert.equal(answered, 0);
    stand.clock.advance(1);
    const { changedSequence, reactions } = await last;
    assert.deepEqual(
      reactions.map(({ emoji, count }) => [emoji, count]),
      [
        ["👍", 60n],
        ["❤️", 1n],
        ["🎉", 59n],
      ],
    );
    for (const one of await Promise.all(wished))
      assert.equal(one.changedSequence, changedSequence, "all are answered after the commit");
    const entries = await talk.entries(talk.owner);
    assert.equal(entries.length, 4);
    assert.deepEqual(await stored(talk), folded(entries));
  }
});

test("more than 500 changes of a message take several entries, in one transaction", async (t) => {
  const stand = new Stand(t, pool);
  const { talk, sequence, users } = await crowd(stand, 450);
  await talk.react(users[0]!, sequence, "👍");
  const wished = users.map((userId) => talk.react(userId, sequence, "👍", "🎉", "❤️"));
  stand.clock.advance(500);
  const answers = await Promise.all(wished);
  const entries = await talk.entries(talk.owner);
  assert.deepEqual(
    reactionsOf(entries).map(({ deltas }) => deltas.length),
    [1, 500, 500, 349],
  );
  assert.deepEqual(await stored(talk), folded(entries));
  assert.equal(answers[0]!.changedSequence, 6n);
  assert.deepEqual(
    answers[0]!.reactions.map(({ count }) => count),
    [450n, 450n, 450n],
  );
});

test("reactions to more messages than one transaction takes do not wait for another spacing", {
  timeout: 30_000,
}, async (t) => {
  const stand = new Stand(t, pool);
  const { talk, sequence, users } = await crowd(stand, 101);
  const sequences = [sequence];
  for (let n = 1; n < 70; n++) sequences.push(await talk.send(talk.owner, `text ${n}`));
  await talk.react(users[0]!, sequence, "👍");
  const wished = users
    .slice(1, 3)
    .flatMap((userId) => sequences.map((target) => talk.react(userId, target, "👍")));
  stand.clock.advance(500);
  await Promise.all(wished);
  const entries = await talk.entries(talk.owner);
  assert.equal(reactionsOf(entries).length, 71, "one entry for each message");
  assert.deepEqual(await stored(talk), folded(entries));
});

test("a former member sees no later reactions, with a page token of their own making neither", async (t) => {
  const talk = await Talk.group(new Stand(t, pool), { others: 2 });
  const [ana, ben, cleo] = [talk.owner, ...talk.others] as [string, string, string];
  const sequence = await talk.send(ana, "text");
  await talk.react(ana, sequence, "👍");
  await talk.server.groups(ben).removeMember({ groupId: talk.id, userId: ben });
  await talk.react(cleo, sequence, "🎉");
  const call = { conversationId: talk.id, sequence };
  const { reactions } = await talk.server.history(ben).listReactions(call);
  assert.deepEqual(
    reactions.map(({ userId }) => userId),
    [ana],
  );
  const pageToken = Buffer.from("9007199254740991.1.👍").toString("base64url");
  for (const wrong of [{ pageToken }, { emoji: "\0" }]) {
    const forged = talk.server.history(ben).listReactions({ ...call, ...wrong });
    await assert.rejects(forged, failsWith("INVALID_ARGUMENT"));
  }
});

test("a stop flushes the reactions that wait, and later calls are refused", async (t) => {
  const stand = new Stand(t, pool);
  const { talk, sequence, users } = await crowd(stand, 101);
  await talk.react(users[0]!, sequence, "👍");
  const waiting = users.slice(1, 4).map((userId) => talk.react(userId, sequence, "👍"));
  await setImmediate();
  await talk.server.server.stop();
  for (const one of await Promise.all(waiting)) assert.equal(one.changedSequence, 4n);
  await assert.rejects(talk.react(users[5]!, sequence, "👍"), failsWith("UNAVAILABLE"));
});

test("an instance refuses calls beyond its queue with OVERLOADED", async (t) => {
  const stand = new Stand(t, pool);
  const { talk, sequence, users } = await crowd(stand, 101);
  await talk.react(users[0]!, sequence, "👍");
  const waiting = Array.from({ length: 10_000 }, () => talk.react(users[1]!, sequence, "🎉"));
  await setImmediate();
  await assert.rejects(talk.react(users[2]!, sequence, "👍"), failsWith("OVERLOADED"));
  let open = waiting.length;
  for (const one of waiting) void one.then(() => open--);
  while (open > 0) {
    stand.clock.advance(500);
    await setImmediate();
  }
  assert.deepEqual(await stored(talk), folded(await talk.entries(talk.owner)));
  const { changedSequence } = await talk.react(users[1]!, sequence, "🎉");
  assert.equal(changedSequence, 4n, "the queue is empty");
});

test("counts, rows and deltas agree after random calls on two servers and a recall", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 9 });
  const servers = [talk, talk.on(await stand.server())];
  const sequences = [await talk.send(talk.owner, "a"), await talk.send(talk.owner, "b")];
  const next = random(7);
  const pick = <T>(list: readonly T[]) => list[Math.floor(next() * list.length)]!;
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 15 }, () => {
        const emojis = EMOJIS.filter(() => next() < 0.25).slice(0, 3);
        return pick(servers).react(pick(talk.others), pick(sequences), ...emojis);
      }),
    );
  }
  const entries = await talk.entries(talk.owner);
  assert.deepEqual(await stored(talk), folded(entries));
  for (const sequence of sequences) {
    const last = reactionsOf(entries).findLast(({ targetSequence }) => targetSequence === sequence);
    const { state } = await talk.entry(talk.owner, sequence);
    assert.deepEqual(state!.reactions, last!.counts);
  }
  await talk.recall(talk.owner, sequences[0]!);
  assert.deepEqual(
    new Set((await talk.rows("reaction")).map(({ sequence }) => sequence)),
    new Set([String(sequences[1])]),
  );
});

test("after 10,000 concurrent calls, of which many change nothing, the sequences are 1 to n", async (t) => {
  const stand = new Stand(t, pool);
  const talk = await Talk.group(stand, { others: 9 });
  const servers = [talk, talk.on(await stand.server())];
  const sequences = [await talk.send(talk.owner, "a"), await talk.send(talk.owner, "b")];
  const next = random(11);
  const pick = <T>(list: readonly T[]) => list[Math.floor(next() * list.length)]!;
  const calls = Array.from({ length: 10_000 }, () => {
    const emojis = EMOJIS.slice(0, 2).filter(() => next() < 0.5);
    return pick(servers).react(pick(talk.others), pick(sequences), ...emojis);
  });
  const answers = await Promise.all(calls);
  // `entries` checks that there is no gap.
  const entries = await talk.entries(talk.owner);
  const written = reactionsOf(entries).length;
  assert.ok(written >= 2 && written < 500, `${written} entries`);
  assert.equal(entries.at(-1)!.sequence, BigInt(3 + written));
  assert.deepEqual(await stored(talk), folded(entries));
  const last = entries.at(-1)!.sequence;
  for (const { changedSequence } of answers) assert.ok(changedSequence <= last);
});
