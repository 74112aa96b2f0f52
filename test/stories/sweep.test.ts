import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, test } from "node:test";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { userChannel } from "#platform/channels.ts";
import { people } from "../world/people.ts";
import { startWorld, testMode } from "../world/world.ts";

/** A bus that confirms what it then throws away, for as long as it is told to. */
function swallowingBus(): Bus & { swallow: boolean } {
  const bus = createMemoryBus();
  const swallowing = {
    ...bus,
    swallow: false,
    publish: (queue: string, body: Uint8Array, signal: AbortSignal) =>
      swallowing.swallow ? Promise.resolve("confirmed" as const) : bus.publish(queue, body, signal),
  };
  return swallowing;
}

const TIMEOUT = 120_000;
const bus = swallowingBus();
const world = await startWorld(
  { after },
  // What is found missing is told at once: here nothing else can be on its way.
  { settings: { LUCKY_CONNECT_SWEEP_GRACE_MS: "0" }, overrides: { bus } },
);

/** From now on nothing is delivered to the user live: the bus, or the registry, lies about it. */
function swallow(userId: string): void {
  if (testMode === "embedded") {
    bus.swallow = true;
    return;
  }
  const { port } = world.mesh.backends.redis;
  const forgotten = execFileSync("redis-cli", [
    "-p",
    String(port),
    "DEL",
    `lucky:channel:${userChannel(userId)}`,
  ]);
  assert.equal(forgotten.toString().trim(), "1");
}

test("a last message that was swallowed on the way is noticed within one sweep", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { conversationId } = await a.client.send({ userId: ben!.userId }, "seen");
  await b.until(() => b.texts().length === 1);
  swallow(ben!.userId);
  await a.client.send({ conversationId }, "swallowed");
  await world.clock.advance(25_000);
  // Nothing follows that could show the gap, and the device asks for nothing by itself.
  await b.until(() => b.texts().length === 2);
  assert.deepEqual(b.texts(conversationId), ["seen", "swallowed"]);
});
