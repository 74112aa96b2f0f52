import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";
import type { RawDevice } from "../../../test/devices/raw-device.ts";

const GROUP_ID = "77";

/** Sends to the group. Resolves when the instance has delivered the entry to its sessions. */
async function say(from: RawDevice, clientMessageId: string): Promise<void> {
  const content = { kind: { case: "text", value: { text: clientMessageId } } };
  const target = { case: "conversationId", value: GROUP_ID };
  from.send({ case: "send", value: { target, clientMessageId, content } });
  const isIt = ({ results }: { results: { clientMessageId: string }[] }) =>
    results[0]!.clientMessageId === clientMessageId;
  await from.next("sendResults", isIt);
  await from.next("deliver", ({ entries }) => entries[0]!.clientMessageId === clientMessageId);
}

/** Resolves when the instance has looked up groups `times` times in total. */
async function lookedUp(harness: ConnectHarness, device: RawDevice, times: number): Promise<void> {
  while (harness.ingress.lookUps < times) await device.roundTrip();
  // The answer arrives in the next turn of the event loop.
  await device.roundTrip();
}

async function heard(device: RawDevice): Promise<string[]> {
  await device.roundTrip();
  return device.seen("deliver").flatMap(({ entries }) => entries.map((e) => e.clientMessageId));
}

test("a former member does not hear the group when the bus delivers a duplicate of the old join", async (t) => {
  const harness = await startConnectHarness(t);
  await harness.ingress.member(GROUP_ID, "1", true);
  await harness.ingress.member(GROUP_ID, "2", true);
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  await harness.ingress.member(GROUP_ID, "2", false);
  await lookedUp(harness, ben, 3);
  const memberships = [{ groupId: GROUP_ID, userId: "2", member: true }];
  await harness.ingress.publish(["u:2"], { memberships });
  await lookedUp(harness, ben, 4);
  await say(ana, "m1");
  assert.deepEqual(await heard(ben), []);
});

test("a member still hears the group when the bus delivers an old leave late", async (t) => {
  const harness = await startConnectHarness(t);
  await harness.ingress.member(GROUP_ID, "1", true);
  await harness.ingress.member(GROUP_ID, "2", true);
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  await harness.ingress.publish(["u:2"], {
    memberships: [{ groupId: GROUP_ID, userId: "2", member: false }],
  });
  await lookedUp(harness, ben, 3);
  await say(ana, "m1");
  assert.deepEqual(await heard(ben), ["m1"]);
});

test("membership changes are found after the registry had lost the instance", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  await harness.ingress.member(GROUP_ID, "1", true);
  await harness.ingress.member(GROUP_ID, "2", true);
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  const cai = await harness.device("3");
  await harness.forgetInstance();
  await harness.ingress.member(GROUP_ID, "2", false);
  await harness.ingress.member(GROUP_ID, "3", true);
  clock.advance(6_000);
  await lookedUp(harness, ben, 6);
  await say(ana, "m1");
  assert.deepEqual(await heard(ben), []);
  assert.deepEqual(await heard(cai), ["m1"]);
});

test("a membership change that the bus lost is detected when the sweep finds the first missed entry", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  await harness.ingress.member(GROUP_ID, "1", true);
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  harness.ingress.dropPublishes = true;
  await harness.ingress.member(GROUP_ID, "2", true);
  harness.ingress.dropPublishes = false;
  await say(ana, "m1");
  assert.deepEqual(await heard(ben), []);
  clock.advance(25_000);
  await ben.roundTrip();
  clock.advance(3_000);
  assert.equal((await ben.next("syncRequired")).lastSequence, 1n);
  await lookedUp(harness, ben, 3);
  await say(ana, "m2");
  assert.deepEqual(await heard(ben), ["m2"]);
});

test("entries that are published after a member joined are synced, not pushed", async (t) => {
  const harness = await startConnectHarness(t);
  const { ingress } = harness;
  await ingress.member(GROUP_ID, "1", true);
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  ingress.dropPublishes = true;
  const content = { kind: { case: "text", value: { text: "m1" } } };
  const target = { case: "conversationId", value: GROUP_ID };
  ana.send({ case: "send", value: { target, clientMessageId: "m1", content } });
  await ana.next("sendResults");
  ingress.dropPublishes = false;
  await ingress.member(GROUP_ID, "2", true);
  await ingress.member(GROUP_ID, "3", true);
  // The first member hears of the join on the bus; the second one's group is looked up.
  const cai = await harness.device("3");
  await lookedUp(harness, cai, 4);
  const channels = [`g:${GROUP_ID}`];
  const entries = ingress.entries.get(GROUP_ID)!;
  const delivery = { channels, conversationId: GROUP_ID, lastSequence: 1n, entries };
  await ingress.publish(channels, { deliveries: [delivery] });
  for (const device of [ana, ben, cai]) {
    const { conversationId, lastSequence } = await device.next("syncRequired");
    assert.deepEqual([conversationId, lastSequence], [GROUP_ID, 1n]);
    assert.deepEqual(await heard(device), []);
  }
  await say(ana, "m2");
  for (const device of [ben, cai]) assert.deepEqual(await heard(device), ["m2"]);
});

test("in a large group, late entries are pushed to all but the newcomers", async (t) => {
  const harness = await startConnectHarness(t);
  const { ingress } = harness;
  const users = Array.from({ length: 17 }, (_, at) => String(at + 1));
  for (const userId of users) await ingress.member(GROUP_ID, userId, true);
  const devices = await Promise.all(users.map((userId) => harness.device(userId)));
  const newcomer = await harness.device("30");
  const [ana] = devices as [RawDevice];
  ingress.dropPublishes = true;
  const content = { kind: { case: "text", value: { text: "m1" } } };
  const target = { case: "conversationId", value: GROUP_ID };
  ana.send({ case: "send", value: { target, clientMessageId: "m1", content } });
  await ana.next("sendResults");
  ingress.dropPublishes = false;
  await ingress.member(GROUP_ID, "30", true);
  await lookedUp(harness, newcomer, users.length + 2);
  const channels = [`g:${GROUP_ID}`];
  const entries = ingress.entries.get(GROUP_ID)!;
  const delivery = { channels, conversationId: GROUP_ID, lastSequence: 1n, entries };
  await ingress.publish(channels, { deliveries: [delivery] });
  assert.equal((await newcomer.next("syncRequired")).lastSequence, 1n);
  assert.deepEqual(await heard(newcomer), []);
  for (const device of devices) {
    assert.deepEqual(await heard(device), ["m1"]);
    assert.equal(device.seen("syncRequired").length, 0);
  }
});

test("a change of members that is published after the user rejoined is synced, not pushed", async (t) => {
  const harness = await startConnectHarness(t);
  const { ingress } = harness;
  await ingress.member(GROUP_ID, "1", true);
  await ingress.member(GROUP_ID, "2", true);
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  await say(ana, "m1");
  assert.deepEqual(await heard(ben), ["m1"]);
  await ingress.member(GROUP_ID, "2", false);
  await ingress.member(GROUP_ID, "2", true);
  await lookedUp(harness, ben, 4);
  const channels = ["u:2"];
  const entries = ingress.entries.get(GROUP_ID)!;
  await ingress.publish(channels, {
    memberships: [{ groupId: GROUP_ID, userId: "2", member: false }],
    deliveries: [{ channels, conversationId: GROUP_ID, lastSequence: 1n, entries }],
  });
  assert.equal((await ben.next("syncRequired")).lastSequence, 1n);
  assert.deepEqual(await heard(ben), ["m1"]);
});

test("a channel that only the registry lost is rejoined when the sweep finds a missed entry", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  const { hears } = harness.hub.instances.get("connect-0")!;
  hears.delete("u:2");
  const content = { kind: { case: "text", value: { text: "hi" } } };
  const target = { case: "userId", value: "2" };
  ana.send({ case: "send", value: { target, clientMessageId: "m1", content } });
  await ana.next("sendResults");
  // Remove both users: with ana left, the registry would still locate the instance, and ben would
  // hear the entry.
  await ben.next("deliver");
  hears.clear();
  ana.send({ case: "send", value: { target, clientMessageId: "m2", content } });
  await ana.next("sendResults");
  clock.advance(25_000);
  await ben.roundTrip();
  clock.advance(3_000);
  assert.equal((await ben.next("syncRequired")).lastSequence, 2n);
  await ben.roundTrip();
  assert.deepEqual(await harness.registry.locate(["u:2"]), [["connect-0"]]);
});

test("incomplete groups of many users are looked up together, ever less often, until all are found", async (t) => {
  const clock = new ManualClock();
  const config = { heartbeatIntervalMs: 600_000, sweepIntervalMs: 600_000 };
  const harness = await startConnectHarness(t, { clock, config });
  const { ingress } = harness;
  ingress.incomplete = true;
  const users = Array.from({ length: 20 }, (_, at) => String(at + 1));
  const devices = await Promise.all(users.map((userId) => harness.device(userId)));
  const second = async () => {
    clock.advance(1_000);
    await devices[0]!.roundTrip();
    await devices[0]!.roundTrip();
  };
  for (let at = 0; at < 60; at += 1) await second();
  const warnings = () =>
    harness.events.filter(({ event }) => event === "memberships_check_failed").length;
  // After 1, 2, 4, 8, 16 and 30 s, or half of it.
  assert.ok(warnings() >= 5 && warnings() <= 8, `${warnings()} warnings`);
  const lookUps = users.length * (1 + warnings());
  await lookedUp(harness, devices[0]!, lookUps);
  assert.equal(ingress.lookUps, lookUps);

  ingress.dropPublishes = true;
  for (const userId of users) await ingress.member(GROUP_ID, userId, true);
  ingress.dropPublishes = false;
  ingress.incomplete = false;
  const before = warnings();
  for (let at = 0; at < 31; at += 1) await second();
  assert.equal(warnings(), before + 1);
  await say(devices[0]!, "m1");
  for (const device of devices.slice(1)) assert.deepEqual(await heard(device), ["m1"]);
});

test("a member hears new groups and keeps the others while groups are incomplete", async (t) => {
  const harness = await startConnectHarness(t, { clock: new ManualClock() });
  const { ingress } = harness;
  for (const userId of ["1", "2"]) await ingress.member(GROUP_ID, userId, true);
  const [ana, ben] = [await harness.device("1"), await harness.device("2")];
  ingress.incomplete = true;
  await ingress.member("78", "2", true);
  await lookedUp(harness, ben, 3);
  await say(ana, "m1");
  assert.deepEqual(await heard(ben), ["m1"]);
});
