import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { consumeRevocations } from "#platform/identity/revocation-feed.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import { quiet } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createRevocationNotifier, type Revocation } from "./revocation-notifier.ts";

/** A bus, and a registry with instances that record the revocations they receive. */
async function setUp(t: TestContext, instances: Readonly<Record<string, string>>) {
  const bus = createMemoryBus();
  const registry = createMemoryRegistry({ clock: new ManualClock() });
  t.after(() => Promise.all([bus.close(), registry.close()]));
  const received = new Map<string, Map<string, number>>();
  const waiting: (() => void)[] = [];
  for (const [instanceId, service] of Object.entries(instances)) {
    const known = new Map<string, number>();
    received.set(instanceId, known);
    const learn = (loginId: string, expiresAtMs: number) => {
      known.set(loginId, expiresAtMs);
      for (const wake of waiting.splice(0)) wake();
    };
    await consumeRevocations({ bus, queue: instanceId, revocations: { learn } });
    const endpoint = { address: "http://127.0.0.1:1", publicAddress: "", load: 0 };
    await registry.announce({ instanceId, service, ...endpoint }, () => {});
  }
  const until = async (instanceId: string, count: number) => {
    const known = received.get(instanceId)!;
    while (known.size < count) await new Promise<void>((resolve) => waiting.push(resolve));
    return known;
  };
  return {
    notifier: createRevocationNotifier({ bus, registry, log: quiet }),
    registry,
    received,
    until,
  };
}

const some = (count: number): Revocation[] =>
  Array.from({ length: count }, (_, at) => ({ loginId: `l${at}`, accessExpiresAtMs: 1_000 + at }));

test("every gateway and connect instance is notified, and no other service", async (t) => {
  const instances = {
    "connect-0": "connect",
    "connect-1": "connect",
    "gateway-0": "gateway",
    "server-0": "server",
  };
  const { notifier, received, until } = await setUp(t, instances);
  notifier.notify([]);
  notifier.notify(some(2));
  for (const instanceId of ["connect-0", "connect-1", "gateway-0"])
    assert.deepEqual(
      [...(await until(instanceId, 2))],
      [
        ["l0", 1_000],
        ["l1", 1_001],
      ],
    );
  assert.equal(received.get("server-0")!.size, 0);
});

test("thousands of logins that end at once are all published", async (t) => {
  const { notifier, until } = await setUp(t, { "connect-0": "connect" });
  notifier.notify(some(2_500));
  assert.equal((await until("connect-0", 2_500)).get("l2499"), 3_499);
});

test("an instance without a queue does not prevent the notification of other instances", async (t) => {
  const { notifier, registry, until } = await setUp(t, { "connect-1": "connect" });
  const endpoint = { address: "http://127.0.0.1:1", publicAddress: "", load: 0 };
  await registry.announce({ instanceId: "connect-0", service: "connect", ...endpoint }, () => {});
  notifier.notify(some(1));
  await until("connect-1", 1);
});
