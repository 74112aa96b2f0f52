import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import { quiet } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { readEnvelope } from "../socket/envelope.ts";
import { Kicks } from "./kicks.ts";

/** Lets pending promises run until the condition holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(setImmediate);
}

async function setUp(t: { after(close: () => Promise<void>): void }) {
  const clock = new ManualClock();
  const bus = createMemoryBus();
  const registry = createMemoryRegistry({ clock });
  t.after(() => bus.close());
  t.after(() => registry.close());
  const instance = { instanceId: "connect-1", service: "connect", address: "", publicAddress: "" };
  const lease = await registry.announce({ ...instance, load: 0 }, () => {});
  let attempts = 0;
  const publish: Bus["publish"] = (queue, body, signal) => {
    attempts++;
    return bus.publish(queue, body, signal);
  };
  const kicks = new Kicks({ bus: { publish }, registry, clock, log: quiet });
  return { bus, clock, kicks, lease, attempts: () => attempts };
}

test("kicks are retried until the deleted queue of their instance exists again", async (t) => {
  const { attempts, bus, clock, kicks } = await setUp(t);
  kicks.send("connect-1", ["s1"]);
  for (let failed = 1; failed <= 8; failed++) {
    await until(() => attempts() === failed);
    await new Promise(setImmediate);
    if (failed === 4) kicks.send("connect-1", ["s2"]);
    if (failed < 8) clock.advance(10_000);
  }
  const kicked: string[] = [];
  await bus.consume("connect-1", async (body) => {
    for (const { sessionId } of readEnvelope(body).kicks) kicked.push(sessionId);
  });
  clock.advance(10_000);
  await until(() => kicked.length > 0);
  assert.deepEqual(kicked, ["s1", "s2"]);
});

test("kicks are dropped when their instance has left the registry", async (t) => {
  const { attempts, clock, kicks, lease } = await setUp(t);
  kicks.send("connect-1", ["s1"]);
  await until(() => attempts() === 1);
  await new Promise(setImmediate);
  await lease.release();
  clock.advance(10_000);
  await new Promise(setImmediate);
  clock.advance(10_000);
  await new Promise(setImmediate);
  assert.equal(attempts(), 1);
});
