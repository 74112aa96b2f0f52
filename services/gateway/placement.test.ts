import assert from "node:assert/strict";
import { test } from "node:test";
import { userChannel } from "#platform/channels.ts";
import { systemClock } from "#platform/clock.ts";
import { createLog } from "#platform/log.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import { FULL_LOAD, type Lease, type Registry } from "#platform/registry/registry.ts";
import { createPlacement } from "./placement.ts";

const log = createLog({ service: "gateway", instanceId: "test", level: "silent" });

function announce(registry: Registry, instanceId: string, load: number): Promise<Lease> {
  return registry.announce(
    {
      instanceId,
      service: "connect",
      address: `http://127.0.0.1:1/${instanceId}`,
      publicAddress: "",
      load,
    },
    () => {},
  );
}

async function setUp(loads: Record<string, number>) {
  const registry = createMemoryRegistry({ clock: systemClock });
  const leases = new Map<string, Lease>();
  for (const [instanceId, load] of Object.entries(loads)) {
    leases.set(instanceId, await announce(registry, instanceId, load));
  }
  return { registry, leases, placement: createPlacement({ registry, log }) };
}

const names = (instances: readonly { instanceId: string }[]) => instances.map((i) => i.instanceId);

test("the preferred instance comes first, then the least loaded one", async (t) => {
  const { registry, placement } = await setUp({ a: 30, b: 10, c: 20 });
  t.after(() => registry.close());
  assert.deepEqual(names(await placement.order(undefined)), ["b", "c", "a"]);
  assert.deepEqual(names(await placement.order("a")), ["a", "b", "c"]);
  assert.deepEqual(names(await placement.order("gone")), ["b", "c", "a"]);
});

test("a full instance comes last, also when it is preferred", async (t) => {
  const { registry, placement } = await setUp({ a: FULL_LOAD, b: 10, c: 20 });
  t.after(() => registry.close());
  assert.deepEqual(names(await placement.order("a")), ["b", "c", "a"]);
  assert.deepEqual(names(await placement.order(undefined)), ["b", "c", "a"]);
});

test("a rush of sockets is spread before the instances report their new load", async (t) => {
  const { registry, placement } = await setUp({ a: 0, b: 0, c: 3 });
  t.after(() => registry.close());
  const taken: Record<string, number> = { a: 0, b: 0, c: 0 };
  for (let at = 0; at < 9; at += 1) {
    const [first] = await placement.order(undefined);
    placement.placed(first!.instanceId);
    taken[first!.instanceId]! += 1;
  }
  assert.deepEqual(taken, { a: 4, b: 4, c: 1 });
});

test("a user is located at an instance that hears the user's channel", async (t) => {
  const { registry, leases, placement } = await setUp({ a: 0, b: 0 });
  t.after(() => registry.close());
  await leases.get("b")!.join([userChannel("42")]);
  assert.equal(await placement.whereIs("42"), "b");
  assert.equal(await placement.whereIs("43"), undefined);
});

test("without the registry the location of a user is unknown, without an error", async () => {
  const { registry, placement } = await setUp({ a: 0 });
  await registry.close();
  assert.equal(await placement.whereIs("42"), undefined);
});
