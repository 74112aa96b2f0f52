import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Lease, Registry } from "#platform/registry/registry.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";

const MOBILE = 1;

/** Lets pending promises run until the condition holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(setImmediate);
}

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

/** Starts an instance whose lease fails the given call while `failing` is set. */
async function startFailing(t: TestContext, call: "claim" | "unclaim") {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const state = { failing: false };
  const registry: Registry = {
    ...harness.registry,
    async announce(instance, lost) {
      const lease = await harness.registry.announce(instance, lost);
      return new Proxy(lease, {
        get(target, name) {
          if (state.failing && name === call) return () => Promise.reject(new Error("away"));
          const member = Reflect.get(target, name);
          return typeof member === "function" ? member.bind(target) : member;
        },
      });
    },
  };
  const options = { clock, with: { ...harness, registry }, instanceId: "connect-1" };
  const other = await startConnectHarness(t, options);
  const logged = (event: string) => other.events.some((line) => line.event === event);
  return { clock, harness, logged, other, state };
}

test("device slots that could not be claimed again after a loss are claimed when the registry answers", async (t) => {
  const { clock, harness, logged, other, state } = await startFailing(t, "claim");
  await other.device("1", "phone-1", MOBILE);
  state.failing = true;
  await harness.forgetInstance();
  while (!logged("reclaim_failed")) {
    clock.advance(1_000);
    await new Promise(setImmediate);
  }
  assert.equal(harness.hub.claims.size, 0);
  state.failing = false;
  clock.advance(1_000);
  await until(() => harness.hub.claims.size > 0);
});

test("the slot of a session that ended while the registry was away is freed when it answers", async (t) => {
  const { clock, harness, logged, other, state } = await startFailing(t, "unclaim");
  const devices = [await other.device("1", "a", MOBILE), await other.device("2", "b", MOBILE)];
  state.failing = true;
  for (const device of devices) await device.close();
  await until(() => logged("unclaim_failed"));
  clock.advance(1_000);
  await new Promise(setImmediate);
  assert.equal(harness.hub.claims.size, 2);
  state.failing = false;
  while (harness.hub.claims.size > 0) {
    clock.advance(1_000);
    await new Promise(setImmediate);
  }
});

function claimant(registry: Registry): Promise<Lease> {
  const instance = { instanceId: "connect-9", service: "connect", address: "", publicAddress: "" };
  return registry.announce({ ...instance, load: 0 }, () => {});
}
