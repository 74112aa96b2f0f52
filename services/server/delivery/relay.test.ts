import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import {
  accepted,
  outboxRows,
  Stand,
  say,
  toConversation,
  untilOutboxEmpty,
} from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("a committed batch reaches every instance that hears it once, and its row is deleted", async (t) => {
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
  for (const subscriber of [a, b]) {
    assert.equal(subscriber.envelopes.length, 1, "one envelope per instance and batch");
    const [delivery] = subscriber.envelopes[0]!.deliveries;
    assert.deepEqual(delivery!.channels, ["u:101", "u:102"]);
    assert.equal(delivery!.conversationId, conversationId);
    assert.equal(delivery!.lastSequence, 2n);
    assert.deepEqual(delivery!.originSessionIds, ["session-1", ""]);
    assert.deepEqual(subscriber.texts, ["m1", "m2"]);
    const [entry] = subscriber.entries;
    assert.equal(entry!.sequence, 1n);
    assert.equal(entry!.messageId, accepted(first).messageId);
    assert.equal(entry!.acceptedAtMs, accepted(first).acceptedAtMs);
    assert.equal(entry!.conversationId, conversationId);
    assert.equal(entry!.senderId, "101");
  }
  assert.equal(await outboxRows(pool), 1);
  await untilOutboxEmpty(stand);
});

test("deliveries of a conversation arrive in the order of their sequences", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const subscriber = await stand.instance("connect-0", ["u:112"]);
  const batches = Array.from({ length: 30 }, (_, i) =>
    one.append(say("111", "112", `a${i}`), say("111", "112", `b${i}`)),
  );
  await Promise.all(batches);
  await subscriber.until(({ entries }) => entries.length === 60);
  assert.deepEqual(
    subscriber.entries.map(({ sequence }) => Number(sequence)),
    Array.from({ length: 60 }, (_, i) => i + 1),
  );
  await untilOutboxEmpty(stand);
});

test("during a registry outage every instance gets all entries", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const subscribers = [
    await stand.instance("connect-0", ["u:126"]),
    await stand.instance("connect-1", ["u:999"]),
  ];
  // The server reads the list of instances: the instances started after the server.
  stand.clock.advance(2_000);
  stand.registryDown = true;
  await one.append(say("125", "126", "m"));
  for (const subscriber of subscribers)
    await subscriber.until(({ entries }) => entries.length === 1);
  await untilOutboxEmpty(stand);
});

test("a membership change reaches the users concerned, through the compensation too", async (t) => {
  for (const outage of ["none", "known"] as const) {
    const stand = new Stand(t, pool);
    const one = await stand.server();
    const subscriber = await stand.instance("connect-0", ["u:162", "u:163"]);
    stand.busOutage = outage;
    const { group } = await one.groups("161").createGroup({ name: "g", userIds: ["162"] });
    const groupId = group!.groupId;
    await one.groups("161").addMembers({ groupId, userIds: ["163"] });
    await one.groups("161").removeMember({ groupId, userId: "162" });
    stand.busOutage = "none";
    if (outage !== "none") stand.clock.advance(8_000);
    await subscriber.until(({ entries }) => entries.length === 3);
    const memberships = subscriber.envelopes.flatMap((envelope) => envelope.memberships);
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
      subscriber.envelopes.flatMap(({ deliveries }) => deliveries.map(({ channels }) => channels)),
      [
        [`g:${groupId}`, "u:161", "u:162"],
        [`g:${groupId}`, "u:163"],
        [`g:${groupId}`, "u:162"],
      ],
    );
    await untilOutboxEmpty(stand);
  }
});

test("a group's message goes to the group's channel", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("171").createGroup({ name: "g", userIds: ["172"] });
  const channel = `g:${group!.groupId}`;
  const subscriber = await stand.instance("connect-0", [channel]);
  const to = toConversation(group!.groupId);
  await one.append({ from: "172", to, key: "k", text: "hello" });
  await subscriber.until(({ texts }) => texts.includes("hello"));
  const delivery = subscriber.envelopes.at(-1)!.deliveries[0]!;
  assert.deepEqual(delivery.channels, [channel]);
  await untilOutboxEmpty(stand);
});
