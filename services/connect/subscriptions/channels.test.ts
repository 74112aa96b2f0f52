import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "#platform/log.ts";
import type { Lease } from "#platform/registry/registry.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { Session } from "../socket/session.ts";
import { SmallSet } from "../socket/small-set.ts";
import type { Socket } from "../socket/socket.ts";
import { advanceWatermark, type Channel, Channels, lastForeignSequence } from "./channels.ts";

const log = createLog({ service: "connect", instanceId: "test", level: "silent" });

test("a join that was in flight when the registry lost the instance is retried", async () => {
  const clock = new ManualClock();
  const joins: { names: readonly string[]; done: () => void }[] = [];
  let asked = Promise.withResolvers<void>();
  const lease = {
    join(names: readonly string[]) {
      return new Promise<void>((done) => {
        joins.push({ names, done });
        asked.resolve();
      });
    },
  } as unknown as Lease;
  const channels = new Channels({ clock, log, lease: () => lease, lingerMs: 0, retryMs: 1_000 });
  const session = new Session({
    socket: {} as Socket,
    nowMs: 0,
    framesPerSecond: 1,
    framesBurst: 1,
    slowReaderBytes: 1,
    maxBackpressureBytes: 1_024,
    trackedConversations: 8,
  });
  channels.subscribe(session, "u:1");
  const joined = channels.join(["u:1"]);
  await asked.promise;
  asked = Promise.withResolvers();
  const again = channels.rejoinAll();
  joins[0]!.done();
  await asked.promise;
  assert.deepEqual(joins[1]!.names, ["u:1"]);
  joins[1]!.done();
  await Promise.all([joined, again]);
  assert.equal(joins.length, 2);
});

test("a watermark stores the last sequence that other sessions sent", () => {
  const channel: Channel = {
    name: "g:1",
    sessions: new SmallSet(),
    newestFirst: 0,
    commonFirst: 0,
  };
  const deliver = (last: number, ...origins: string[]) =>
    advanceWatermark(channel, { conversationId: "1", last, origins, limit: 2 });
  const watermark = deliver(5, "", "ana", "ana");
  assert.deepEqual([watermark.first, watermark.last], [3, 5]);
  assert.equal(lastForeignSequence(watermark, "ana"), 3);
  assert.equal(lastForeignSequence(watermark, "ben"), 5);
  deliver(6, "ben");
  assert.equal(lastForeignSequence(watermark, "ana"), 6);
  assert.equal(lastForeignSequence(watermark, "ben"), 5);
  deliver(4, "late");
  assert.equal(watermark.last, 6, "a duplicate or late delivery does not move the watermark back");
});
