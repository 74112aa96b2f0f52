import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/postgres.ts";
import {
  accepted,
  type Outgoing,
  outboxRows,
  Stand,
  toConversation,
  toUser,
} from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

const say = (from: string, to: string, key: string, sessionId = ""): Outgoing => ({
  from,
  to: toUser(to),
  key,
  text: key,
  sessionId,
});

/** Moves the time on until the outbox is empty. */
async function emptied({ clock }: Stand): Promise<void> {
  while ((await outboxRows(pool)) > 0) clock.advance(50);
}

test("what was committed reaches every instance that hears it, once, and the row is deleted", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const [a, b] = [
    await stand.instance("connect-0", ["u:101", "u:102"]),
    await stand.instance("connect-1", ["u:102", "u:999"]),
  ];
  const c = await stand.instance("connect-2", ["u:998"]);
  const [first] = await one.append(say("101", "102", "m1", "session-1"), say("102", "101", "m2"));
  const { conversationId } = accepted(first);
  await a.until(({ entries }) => entries.length === 2);
  await b.until(({ entries }) => entries.length === 2);
  assert.deepEqual(c.envelopes, []);
  for (const ear of [a, b]) {
    assert.equal(ear.envelopes.length, 1, "one envelope an instance and batch");
    const [delivery] = ear.envelopes[0]!.deliveries;
    assert.deepEqual(delivery!.channels, ["u:101", "u:102"]);
    assert.equal(delivery!.conversationId, conversationId);
    assert.equal(delivery!.lastSequence, 2n);
    assert.deepEqual(delivery!.originSessionIds, ["session-1", ""]);
    assert.deepEqual(ear.texts, ["m1", "m2"]);
    const [entry] = ear.entries;
    assert.equal(entry!.sequence, 1n);
    assert.equal(entry!.messageId, accepted(first).messageId);
    assert.equal(entry!.acceptedAtMs, accepted(first).acceptedAtMs);
    assert.equal(entry!.conversationId, conversationId);
    assert.equal(entry!.senderId, "101");
  }
  assert.equal(await outboxRows(pool), 1);
  await emptied(stand);
});

test("deliveries of a conversation arrive in the order of their sequences", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const ear = await stand.instance("connect-0", ["u:112"]);
  const batches = Array.from({ length: 30 }, (_, i) =>
    one.append(say("111", "112", `a${i}`), say("111", "112", `b${i}`)),
  );
  await Promise.all(batches);
  await ear.until(({ entries }) => entries.length === 60);
  assert.deepEqual(
    ear.entries.map(({ sequence }) => Number(sequence)),
    Array.from({ length: 60 }, (_, i) => i + 1),
  );
  await emptied(stand);
});

test("while the bus is away rows stay; when it is back they are published in order", async (t) => {
  for (const away of ["known", "silent"] as const) {
    const stand = new Stand(t, pool);
    const one = await stand.server();
    const ear = await stand.instance("connect-0", ["u:122"]);
    stand.busOutage = away;
    for (let i = 0; i < 20; i++) await one.append(say("121", "122", `${away}${i}`));
    assert.equal(await outboxRows(pool), 20);
    stand.clock.advance(60_000);
    // Also waits for the compensation, which looks in vain.
    await one.server.replay();
    assert.deepEqual(ear.envelopes, []);
    stand.busOutage = "no";
    stand.clock.advance(60_000);
    await ear.until(({ entries }) => entries.length >= 20);
    const sequences = ear.entries.map(({ sequence }) => Number(sequence));
    assert.deepEqual(new Set(sequences).size, 20);
    if (away === "known")
      assert.deepEqual(
        sequences,
        sequences.toSorted((a, b) => a - b),
      );
    await emptied(stand);
  }
});

test("while the registry cannot say who hears what, every instance gets everything", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const ears = [
    await stand.instance("connect-0", ["u:126"]),
    await stand.instance("connect-1", ["u:999"]),
  ];
  // The server learns of instances that came after it.
  stand.clock.advance(2_000);
  stand.registryDown = true;
  await one.append(say("125", "126", "m"));
  for (const ear of ears) await ear.until(({ entries }) => entries.length === 1);
  await emptied(stand);
});

test("a server that knows no instance while the registry is away keeps its rows until it is back", async (t) => {
  const stand = new Stand(t, pool);
  stand.registryDown = true;
  const one = await stand.server();
  const ear = await stand.instance("connect-0", ["u:128"]);
  await one.append(say("127", "128", "m"));
  stand.clock.advance(60_000);
  // Also waits for the compensation, which tries in vain, and deletes what was confirmed.
  await one.server.replay();
  assert.equal(await outboxRows(pool), 1);
  stand.registryDown = false;
  stand.clock.advance(60_000);
  await ear.until(({ texts }) => texts.includes("m"));
  await emptied(stand);
});

test("what a server left behind between commit and publish is published by another one", async (t) => {
  const stand = new Stand(t, pool);
  const first = await stand.server();
  const ear = await stand.instance("connect-0", ["u:132"]);
  stand.busOutage = "silent";
  const [result] = await first.append(say("131", "132", "left"));
  // Its process ends here: the row is there, nothing was published.
  await first.server.stop();
  stand.busOutage = "no";
  stand.clock.advance(5_001);
  await stand.server();
  await ear.until(({ entries }) => entries.length === 1);
  assert.deepEqual(ear.texts, ["left"]);
  assert.equal(ear.entries[0]!.messageId, accepted(result).messageId);
  await emptied(stand);
});

test("several servers share the compensation: each row is taken once", async (t) => {
  const stand = new Stand(t, pool);
  const servers = await Promise.all([stand.server(), stand.server(), stand.server()]);
  const ear = await stand.instance("connect-0", ["u:142"]);
  stand.busOutage = "known";
  for (let i = 0; i < 60; i++) await servers[0]!.append(say("141", "142", `m${i}`));
  stand.busOutage = "no";
  stand.clock.advance(8_000);
  await ear.until(({ entries }) => entries.length >= 60);
  // Also waits for the looks in work.
  await Promise.all(servers.map(({ server }) => server.replay()));
  assert.equal(ear.entries.length, 60);
  await emptied(stand);
});

test("a row that always fails holds no others up", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const stuck = await stand.instance("connect-0", ["u:144"]);
  const ear = await stand.instance("connect-1", ["u:146"]);
  stand.busOutage = "known";
  await one.append(say("143", "144", "stuck"));
  for (let i = 0; i < 20; i++) await one.append(say("145", "146", `m${i}`));
  stand.busOutage = "no";
  stand.stuck.add("connect-0");
  stand.clock.advance(8_000);
  // Also waits for the look in work.
  await one.server.replay();
  assert.equal(ear.entries.length, 20);
  assert.deepEqual(stuck.entries, []);
  stand.stuck.clear();
  stand.clock.advance(60_000);
  await stuck.until(({ texts }) => texts.includes("stuck"));
  await emptied(stand);
});

test("rows whose turn had not come when the bus went away are due at once, with no attempt used up", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const ear = await stand.instance("connect-0", ["u:148"]);
  stand.busOutage = "known";
  for (let i = 0; i < 16; i++) await one.append(say("147", "148", `m${i}`));
  stand.busOutage = "no";
  const gone = ear
    .until(({ entries }) => entries.length > 0)
    .then(() => {
      stand.busOutage = "known";
    });
  stand.clock.advance(8_000);
  await gone;
  // Also waits for the look in work.
  await one.server.replay();
  const { rows } = await pool.query(
    `SELECT count(*)::int AS rows, count(*) FILTER (WHERE attempts > 0)::int AS tried,
            count(*) FILTER (WHERE next_attempt_at_ms > $1)::int AS later FROM im.outbox`,
    [stand.clock.now()],
  );
  const [left] = rows as [{ rows: number; tried: number; later: number }];
  // One may have been in work, and what arrived may not be deleted yet.
  assert.ok(left.rows >= 16 - ear.entries.length, `${left.rows} rows left`);
  assert.ok(left.tried <= ear.entries.length + 1, `${left.tried} rows tried`);
  assert.ok(left.later <= ear.entries.length + 1, `${left.later} rows put off`);
  assert.ok(ear.entries.length < 15);
  stand.busOutage = "no";
  stand.clock.advance(60_000);
  await ear.until(({ entries }) => entries.length >= 16);
  await emptied(stand);
});

test("after too many attempts a row waits for an operator, who can replay it", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server({ outboxAttempts: 2, outboxMaxBackoffMs: 1_000 });
  const ear = await stand.instance("connect-0", ["u:152"]);
  stand.busOutage = "silent";
  await one.append(say("151", "152", "m"));
  const failed = async () => {
    const { rows } = await pool.query(
      "SELECT count(*)::int AS n FROM im.outbox WHERE next_attempt_at_ms IS NULL",
    );
    return rows[0].n as number;
  };
  while ((await failed()) === 0) stand.clock.advance(2_000);
  stand.busOutage = "no";
  assert.deepEqual(ear.envelopes, []);
  assert.match(await one.metrics.text(), /lucky_outbox_failed_total 1/);
  assert.equal(await one.server.replay(), 1);
  await ear.until(({ entries }) => entries.length === 1);
  await emptied(stand);
});

test("a change of members tells those concerned, and goes through the compensation as well", async (t) => {
  for (const away of ["no", "known"] as const) {
    const stand = new Stand(t, pool);
    const one = await stand.server();
    const ear = await stand.instance("connect-0", ["u:162", "u:163"]);
    stand.busOutage = away;
    const { group } = await one.groups("161").createGroup({ name: "g", userIds: ["162"] });
    const groupId = group!.groupId;
    await one.groups("161").addMembers({ groupId, userIds: ["163"] });
    await one.groups("161").removeMember({ groupId, userId: "162" });
    stand.busOutage = "no";
    if (away !== "no") stand.clock.advance(8_000);
    await ear.until(({ entries }) => entries.length === 3);
    const memberships = ear.envelopes.flatMap((envelope) => envelope.memberships);
    assert.deepEqual(
      memberships.map(({ userId, member }) => [userId, member]),
      [
        ["161", true],
        ["162", true],
        ["163", true],
        ["162", false],
      ],
    );
    assert.deepEqual(
      ear.envelopes.flatMap(({ deliveries }) => deliveries.map(({ channels }) => channels)),
      [
        [`g:${groupId}`, "u:161", "u:162"],
        [`g:${groupId}`, "u:163"],
        [`g:${groupId}`, "u:162"],
      ],
    );
    await emptied(stand);
  }
});

test("a group's message goes to the group's channel", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("171").createGroup({ name: "g", userIds: ["172"] });
  const channel = `g:${group!.groupId}`;
  const ear = await stand.instance("connect-0", [channel]);
  const to = toConversation(group!.groupId);
  await one.append({ from: "172", to, key: "k", text: "hello" });
  await ear.until(({ texts }) => texts.includes("hello"));
  const delivery = ear.envelopes.at(-1)!.deliveries[0]!;
  assert.deepEqual(delivery.channels, [channel]);
  await emptied(stand);
});

test("typing goes to the others, and only from members", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const [sent] = await one.append(say("181", "182", "m"));
  const { conversationId } = accepted(sent);
  const ear = await stand.instance("connect-0", ["u:181", "u:182"]);
  await one.presence("181").sendTyping({ conversationId, typing: true });
  await one.ingress.signalBatch({
    signals: [
      { senderId: "183", conversationId, typing: true },
      { senderId: "182", conversationId, typing: true },
    ],
  });
  await ear.until(({ frames }) => frames.length === 2);
  const signals = ear.envelopes.flatMap((envelope) => envelope.signals);
  assert.deepEqual(
    signals.map(({ channels }) => channels),
    [["u:182"], ["u:181"]],
  );
  assert.deepEqual(
    ear.frames.map(({ kind }) => kind.case === "typing" && [kind.value.userId, kind.value.typing]),
    [
      ["181", true],
      ["182", true],
    ],
  );
  await assert.rejects(one.presence("183").sendTyping({ conversationId, typing: true }), {
    code: 5,
  });
  const { group } = await one.groups("181").createGroup({ name: "g", userIds: ["182"] });
  await one.presence("182").sendTyping({ conversationId: group!.groupId, typing: false });
});

test("who was removed from a group types into it no more, on another server within seconds", async (t) => {
  const stand = new Stand(t, pool);
  const [one, other] = [await stand.server(), await stand.server()];
  const { group } = await one.groups("191").createGroup({ name: "g", userIds: ["192"] });
  const conversationId = group!.groupId;
  const ear = await stand.instance("connect-0", [`g:${conversationId}`]);
  const typists = () =>
    ear.frames.map(({ kind }) => (kind.case === "typing" ? kind.value.userId : kind.case));
  const type = () =>
    other.ingress.signalBatch({
      signals: ["192", "191"].map((senderId) => ({ senderId, conversationId, typing: true })),
    });
  await type();
  await ear.until(({ frames }) => frames.length === 2);
  await one.groups("191").removeMember({ groupId: conversationId, userId: "192" });
  stand.clock.advance(5_000);
  await type();
  await ear.until(({ frames }) => frames.length >= 3);
  assert.deepEqual(typists(), ["192", "191", "191"]);
  await assert.rejects(other.presence("192").sendTyping({ conversationId, typing: true }), {
    code: 5,
  });
  await other.presence("191").sendTyping({ conversationId, typing: true });
  await ear.until(({ frames }) => frames.length >= 4);
  assert.deepEqual(typists(), ["192", "191", "191", "191"]);
  await emptied(stand);
});

test("typing by what was known before does not outlive a clock that is set back", async (t) => {
  const stand = new Stand(t, pool);
  const [one, other] = [await stand.server(), await stand.server()];
  const { group } = await one.groups("194").createGroup({ name: "g", userIds: ["195"] });
  const conversationId = group!.groupId;
  await other.presence("195").sendTyping({ conversationId, typing: true });
  await one.groups("194").removeMember({ groupId: conversationId, userId: "195" });
  stand.clock.putBack(60_000);
  stand.clock.advance(5_000);
  await assert.rejects(other.presence("195").sendTyping({ conversationId, typing: true }), {
    code: 5,
  });
  stand.clock.advance(120_000);
  await emptied(stand);
});
