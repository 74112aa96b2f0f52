import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { text, toUser } from "../uplink/sends.fixture.ts";

const INTERVAL_MS = 25_000;
const GRACE_MS = 3_000;

const toGroup = (groupId: string, clientMessageId: string) => ({
  case: "send" as const,
  value: {
    target: { case: "conversationId" as const, value: groupId },
    clientMessageId,
    content: text("hi"),
  },
});

async function setUp(t: TestContext) {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const [ana, ben] = [await harness.device("1"), await harness.device("2")];
  const sweep = async () => {
    clock.advance(INTERVAL_MS);
    await Promise.all([ana.roundTrip(), ben.roundTrip()]);
    clock.advance(GRACE_MS);
    await Promise.all([ana.roundTrip(), ben.roundTrip()]);
  };
  return { ana, ben, harness, sweep };
}

test("the sweep finds an entry of a group that the bus lost", async (t) => {
  const { ana, ben, harness, sweep } = await setUp(t);
  await harness.ingress.member("77", "1", true);
  await harness.ingress.member("77", "2", true);
  await sweep();
  harness.ingress.dropPublishes = true;
  ana.send(toGroup("77", "m1"));
  await ana.next("sendResults");
  await sweep();
  const { conversationId, lastSequence } = await ben.next("syncRequired");
  assert.deepEqual([conversationId, lastSequence], ["77", 1n]);
});

test("the sweep repairs a join and a leave that the bus lost", async (t) => {
  const { ana, ben, harness, sweep } = await setUp(t);
  await harness.ingress.member("77", "1", true);
  harness.ingress.dropPublishes = true;
  await harness.ingress.member("77", "2", true);
  await sweep();
  harness.ingress.dropPublishes = false;
  ana.send(toGroup("77", "m1"));
  assert.equal((await ben.next("deliver")).entries[0]!.clientMessageId, "m1");
  harness.ingress.dropPublishes = true;
  await harness.ingress.member("77", "2", false);
  await sweep();
  harness.ingress.dropPublishes = false;
  ana.send(toGroup("77", "m2"));
  await ana.next("sendResults", ({ results }) => results[0]!.clientMessageId === "m2");
  await ben.roundTrip();
  // m1 was redelivered, because the device did not acknowledge it.
  const ids = ben.seen("deliver").flatMap(({ entries }) => entries.map((e) => e.clientMessageId));
  assert.ok(!ids.includes("m2"));
});

test("a sweep continues where the last one that succeeded ended", async (t) => {
  const { ana, ben, harness, sweep } = await setUp(t);
  const swept = () => harness.ingress.sweptFrom.splice(0);
  await sweep();
  // The first sweep runs at the start.
  assert.deepEqual(swept(), ["", "0"]);
  harness.ingress.dropPublishes = true;
  ana.send(toUser("2", "m1"));
  await ana.next("sendResults");
  harness.ingress.down = true;
  await sweep();
  assert.deepEqual(swept(), []);
  harness.ingress.down = false;
  await sweep();
  assert.deepEqual(swept(), ["0"]);
  assert.equal((await ben.next("syncRequired")).lastSequence, 1n);
  await sweep();
  assert.deepEqual(swept(), ["1"]);
});

test("a user whose sweep fails does not stop the sweep of others, and is retried", async (t) => {
  const { ana, ben, harness, sweep } = await setUp(t);
  await sweep();
  harness.ingress.sweptFrom.length = 0;
  harness.ingress.badUserId = "1";
  harness.ingress.dropPublishes = true;
  ana.send(toUser("2", "m1"));
  await ana.next("sendResults");
  await sweep();
  await sweep();
  assert.equal((await ben.next("syncRequired")).lastSequence, 1n);
  harness.ingress.badUserId = "";
  await sweep();
  assert.deepEqual(new Set(harness.ingress.sweptFrom.splice(0)), new Set(["0"]));
  await sweep();
  assert.deepEqual(harness.ingress.sweptFrom, ["1"]);
});
