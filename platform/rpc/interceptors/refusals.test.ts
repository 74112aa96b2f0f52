import assert from "node:assert/strict";
import { test } from "node:test";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createRefusals } from "./refusals.ts";

test("a /48 network has sixteen times the refusals of a /64 network", async () => {
  const clock = new ManualClock();
  const { log, lines } = keptLog();
  const refusals = createRefusals({ perSecond: () => 1, clock, log, metrics: new Metrics() });
  for (let subnet = 0; subnet < 16; subnet++) {
    for (let n = 0; n < 6; n++) refusals.count({ address: `2001:db8:1:${subnet}::${n + 1}` });
  }
  await new Promise(setImmediate);
  assert.equal(refusals.waitOfAddress("2001:db8:1:3::9"), 0);
  refusals.count({ address: "2001:db8:1:99::1" });
  await new Promise(setImmediate);
  assert.equal(refusals.waitOfAddress("2001:db8:1:3::9"), 6_000);
  assert.equal(refusals.waitOfAddress("2001:db8:2::1"), 0);
  const [{ event, caller } = {}] = lines;
  assert.deepEqual([event, caller], ["refusals_limited", "address:2001:db8:1::/48"]);
  clock.advance(6_000);
  assert.equal(refusals.waitOfAddress("2001:db8:1:3::9"), 0);
});

test("the number of refusals follows its setting", async () => {
  const clock = new ManualClock();
  let perSecond = 1;
  const options = { clock, log: keptLog().log, metrics: new Metrics() };
  const refusals = createRefusals({ perSecond: () => perSecond, ...options });
  const refuse = async (userId: string) => {
    for (let n = 0; n < 7; n++) refusals.count({ address: undefined, userId });
    await new Promise(setImmediate);
    return refusals.waitOfUser(userId);
  };
  assert.equal(await refuse("1"), 6_000);
  perSecond = 2;
  assert.equal(await refuse("2"), 0);
});

test("a step of the time of day neither ends nor prolongs the wait of a caller", async () => {
  const clock = new ManualClock();
  const { log } = keptLog();
  const refusals = createRefusals({ perSecond: () => 1, clock, log, metrics: new Metrics() });
  for (let n = 0; n < 7; n++) refusals.count({ address: undefined, userId: "1" });
  await new Promise(setImmediate);
  for (const stepMs of [3_600_000, -7_200_000]) {
    clock.step(stepMs);
    assert.equal(refusals.waitOfUser("1"), 6_000);
  }
  clock.advance(6_000);
  assert.equal(refusals.waitOfUser("1"), 0);
});
