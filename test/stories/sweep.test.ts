import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { userChannel } from "#platform/channels.ts";
import { people } from "../world/people.ts";
import { startWorld, testMode } from "../world/world.ts";

/** A memory bus that confirms and drops every message while `drop` is set. */
function lossyBus(): Bus & { drop: boolean } {
  const bus = createMemoryBus();
  const lossy = {
    ...bus,
    drop: false,
    publish: (queue: string, body: Uint8Array, signal: AbortSignal) =>
      lossy.drop ? Promise.resolve("confirmed" as const) : bus.publish(queue, body, signal),
  };
  return lossy;
}

const TIMEOUT = 120_000;
const bus = lossyBus();
const world = await startWorld(
  { after },
  // No grace period: here no other message can be in flight.
  { settings: { LUCKY_CONNECT_SWEEP_GRACE_MS: "0" }, overrides: { bus } },
);

/**
 * Stops live deliveries to the user: the bus drops them, or the registry has lost the user's
 * channel.
 */
function stopLiveDelivery(userId: string): void {
  if (testMode === "embedded") {
    bus.drop = true;
    return;
  }
  const { port } = world.mesh.backends.redis;
  const deletedKeys = execFileSync("redis-cli", [
    "-p",
    String(port),
    "DEL",
    `lucky:channel:${userChannel(userId)}`,
  ]);
  assert.equal(deletedKeys.toString().trim(), "1");
}

test("a sweep finds a last message that the bus lost", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { conversationId } = await a.client.send({ userId: ben!.userId }, "seen");
  await b.until(() => b.texts().length === 1);
  stopLiveDelivery(ben!.userId);
  await a.client.send({ conversationId }, "swallowed");
  await world.clock.advance(25_000);
  // No later message reveals the gap, and the device does not poll by itself.
  await b.until(() => b.texts().length === 2);
  assert.deepEqual(b.texts(conversationId), ["seen", "swallowed"]);
});
