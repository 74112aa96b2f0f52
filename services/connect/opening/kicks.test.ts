import assert from "node:assert/strict";
import { test } from "node:test";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import type { Lease, Registry } from "#platform/registry/registry.ts";
import { quiet } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { readEnvelope } from "../socket/envelope.ts";
import { Kicks } from "./kicks.ts";

const MOBILE = 1;

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

test("an instance whose queue was deleted ends the sessions whose kicks were lost", async (t) => {
  const harness = await startConnectHarness(t);
  let lost: (() => void) | undefined;
  const bus: Bus = {
    ...harness.bus,
    consume(queue, take, options) {
      lost = options?.lost;
      return harness.bus.consume(queue, take, options);
    },
  };
  const other = await startConnectHarness(t, {
    with: { ...harness, bus },
    instanceId: "connect-1",
  });
  const first = await other.device("1", "phone-1", MOBILE);
  // The lost kick: the claim was displaced, and nobody told the session.
  const [claim] = [...harness.hub.claims.values()].flatMap((claims) => [...claims.values()]);
  assert.ok(claim);
  const lease = await claimant(harness.registry);
  const rule = { limit: 1, excess: "replace" } as const;
  const newer = { ...claim.claim, sessionId: "s2", deviceId: "phone-2", instanceId: "connect-9" };
  assert.equal((await lease.claim(newer, rule)).displaced.length, 1);
  lost!();
  assert.equal((await first.closed).code, CloseCode.REPLACED);
});

test("device slots that could not be claimed again after a loss are claimed when the registry answers", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  let refusing = false;
  const registry: Registry = {
    ...harness.registry,
    async announce(instance, onLost) {
      const lease = await harness.registry.announce(instance, onLost);
      return new Proxy(lease, {
        get(target, name) {
          const member = Reflect.get(target, name);
          if (typeof member !== "function") return member;
          return (...values: unknown[]) => {
            if (refusing && name === "claim") return Promise.reject(new Error("away"));
            return member.apply(target, values);
          };
        },
      });
    },
  };
  const other = await startConnectHarness(t, {
    clock,
    with: { ...harness, registry },
    instanceId: "connect-1",
  });
  await other.device("1", "phone-1", MOBILE);
  refusing = true;
  await harness.forgetInstance();
  const failed = () => other.events.some(({ event }) => event === "reclaim_failed");
  while (!failed()) {
    clock.advance(1_000);
    await new Promise(setImmediate);
  }
  assert.equal(harness.hub.claims.size, 0);
  refusing = false;
  clock.advance(1_000);
  await until(() => harness.hub.claims.size > 0);
});

function claimant(registry: Registry): Promise<Lease> {
  const instance = { instanceId: "connect-9", service: "connect", address: "", publicAddress: "" };
  return registry.announce({ ...instance, load: 0 }, () => {});
}
