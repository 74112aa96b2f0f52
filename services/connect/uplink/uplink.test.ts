import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";
import type { RawDevice } from "../../../test/devices/raw-device.ts";

const sendTo = (userId: string, clientMessageId: string) => ({
  case: "send" as const,
  value: create(SendRequestSchema, {
    target: { case: "userId", value: userId },
    clientMessageId,
    content: { kind: { case: "text", value: { text: "x".repeat(100) } } },
  }),
});

async function results(device: RawDevice, count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) {
    const frame = await device.next("sendResults");
    for (const { clientMessageId } of frame.results) ids.push(clientMessageId);
  }
  return ids;
}

const stored = (harness: ConnectHarness, conversationId: string): number =>
  harness.ingress.entries.get(conversationId)?.length ?? 0;

test("sends that arrive while a batch is in flight join the next batch, within its bounds", async (t) => {
  const harness = await startConnectHarness(t, {
    config: { uplinkLanes: 1, uplinkBatchSends: 16 },
  });
  const ana = await harness.device("1");
  for (let i = 0; i < 100; i += 1) ana.send(sendTo("2", `m${i}`));
  const ids = await results(ana, 100);
  assert.deepEqual(
    ids,
    Array.from({ length: 100 }, (_, i) => `m${i}`),
    "results arrive in the order of the sends",
  );
  assert.ok(harness.ingress.batches.length < 50, `${harness.ingress.batches.length} batches`);
  assert.ok(Math.max(...harness.ingress.batches) <= 16);
});

test("a batch is bounded in bytes, but a single larger send is still sent", async (t) => {
  const harness = await startConnectHarness(t, {
    config: { uplinkLanes: 1, uplinkBatchBytes: 1_024 },
  });
  const ana = await harness.device("1");
  for (let i = 0; i < 40; i += 1) ana.send(sendTo("2", `m${i}`));
  await results(ana, 40);
  const bytes = toBinary(SendRequestSchema, sendTo("2", "m10").value).length;
  assert.ok(Math.max(...harness.ingress.batches) <= Math.floor(1_024 / bytes));
});

test("an instance with a full queue refuses sends and stores none of them", async (t) => {
  const harness = await startConnectHarness(t, { config: { uplinkQueueSends: 3 } });
  const ana = await harness.device("1");
  harness.ingress.down = true;
  for (let i = 0; i < 10; i += 1) ana.send(sendTo("2", `m${i}`));
  assert.equal((await results(ana, 7)).length, 7);
  harness.ingress.down = false;
  await results(ana, 3);
  assert.equal(stored(harness, "1000002"), 3);
});

test("a send with an unreadable target is refused and the session stays open", async (t) => {
  const harness = await startConnectHarness(t);
  const ana = await harness.device("1");
  ana.sendBytes(Uint8Array.of(0x12, 2, 0x32, 0));
  const { results: refused } = await ana.next("sendResults");
  assert.equal(refused[0]!.outcome.case, "refused");
  ana.sendBytes(Uint8Array.of(0x12, 2, 0xff, 0xff));
  assert.equal((await ana.next("sendResults")).results[0]!.outcome.case, "refused");
  ana.send(sendTo("2", "good"));
  assert.deepEqual(await results(ana, 1), ["good"]);
});

test("when a batch is refused, later sends of its sessions are refused too, so that they do not overtake it", async (t) => {
  const config = { uplinkLanes: 1, uplinkBatchSends: 1, uplinkRetryMs: 0 };
  const harness = await startConnectHarness(t, { config });
  const ana = await harness.device("1");
  const eve = await harness.device("3");
  harness.ingress.failing = 1;
  for (const id of ["m1", "m2", "m3"]) ana.send(sendTo("2", id));
  eve.send(sendTo("2", "e1"));
  const refused: string[] = [];
  while (refused.length < 3) {
    for (const { clientMessageId, outcome } of (await ana.next("sendResults")).results) {
      if (outcome.case === "refused") refused.push(clientMessageId);
    }
  }
  assert.deepEqual(refused, ["m1", "m2", "m3"]);
  assert.equal((await eve.next("sendResults")).results[0]!.outcome.case, "accepted");
  for (const id of refused) ana.send(sendTo("2", id));
  assert.deepEqual(await results(ana, 3), refused);
  assert.equal(stored(harness, "1000002"), 3);
});
