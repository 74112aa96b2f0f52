import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { create, toBinary } from "@bufbuild/protobuf";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { groupChannel, userChannel } from "#platform/channels.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { SlowReader } from "../../../test/devices/slow-reader.ts";

/** Delivers `count` entries of 32 KiB of a conversation to a channel, one per envelope. */
async function flood(
  harness: ConnectHarness,
  options: { channel: string; id: string; count: number; from?: number },
) {
  const value = { type: "noise", data: new Uint8Array(32_768) };
  const content = { kind: { case: "custom" as const, value } };
  const entry = toBinary(EntrySchema, create(EntrySchema, { conversationId: options.id, content }));
  const from = options.from ?? 1;
  for (let sequence = from; sequence < from + options.count; sequence += 1) {
    await harness.ingress.publish([options.channel], {
      deliveries: [
        {
          channels: [options.channel],
          conversationId: options.id,
          lastSequence: BigInt(sequence),
          entries: [entry],
          originSessionIds: [""],
        },
      ],
    });
    // As over a network, published envelopes are consumed before further ones arrive.
    if (sequence % 8 === 0) await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

const COUNT = 3_000;
const NOISE_BYTES = COUNT * 32_768;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

for (const [source, channel, id] of [
  ["its own channel", userChannel("1"), "500"],
  ["a group", groupChannel("77"), "77"],
] as const) {
  test(`a device that does not read ${source} costs a bounded amount of memory and must sync when it reads`, async (t) => {
    const clock = new ManualClock();
    const harness = await startConnectHarness(t, { clock });
    await harness.ingress.member("77", "1", true);
    const token = await harness.issuer.token({ sub: "1", did: "slow", dcl: 3 });
    const slow = await SlowReader.open(harness.port, token);
    t.after(async () => void slow.socket.destroy());
    const witness = await harness.device("2");
    slow.socket.pause();
    // The process grows to its working size during the first half, and must not grow further during
    // the second half.
    await flood(harness, { channel, id, count: COUNT });
    collectGarbage();
    const before = process.memoryUsage.rss();
    await flood(harness, { channel, id, count: COUNT, from: COUNT + 1 });
    await witness.roundTrip();
    collectGarbage();
    const grown = process.memoryUsage.rss() - before;
    assert.ok(grown < NOISE_BYTES / 2, `${grown} bytes more for one slow reader`);

    slow.socket.resume();
    const sync = await slow.next("syncRequired");
    assert.equal(sync.conversationId, id);
    assert.equal(sync.lastSequence, BigInt(COUNT * 2));
  });
}

test("a device that does not read for too long is disconnected", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock, config: { heartbeatIntervalMs: 300_000 } });
  const slow = await SlowReader.open(harness.port, await harness.issuer.token());
  t.after(async () => void slow.socket.destroy());
  slow.socket.pause();
  await flood(harness, { channel: userChannel("1"), id: "500", count: 500 });
  const witness = await harness.device("2");
  await witness.roundTrip();
  clock.advance(62_000);
  const end = harness.events.find(({ event }) => event === "session_end");
  assert.deepEqual([end?.userId, end?.code], ["1", CloseCode.UNAVAILABLE]);
});
