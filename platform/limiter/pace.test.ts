import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createPace } from "./pace.ts";

/** Lets resolved promises run. */
const settle = () => new Promise(setImmediate);

function setUp() {
  const clock = new ManualClock();
  const pace = createPace({ clock, burst: 20, perSecond: 50, maxWaitMs: 2_000 });
  const answered: string[] = [];
  const take = (address: string, signal?: AbortSignal) =>
    pace.turn(address, signal).then((inTurn) => {
      answered.push(inTurn ? address : `${address} dropped`);
    });
  return { clock, answered, take };
}

test("the first turns of an address come at once, further ones at the pace", async () => {
  const { clock, answered, take } = setUp();
  const all = Promise.all(Array.from({ length: 100 }, () => take("192.0.2.1")));
  await settle();
  assert.equal(answered.length, 20);
  clock.advance(1_000);
  await settle();
  assert.equal(answered.length, 70);
  await take("192.0.2.2");
  assert.equal(answered.at(-1), "192.0.2.2", "another address does not wait");
  clock.advance(1_000);
  await all;
});

test("a turn that would come too late is refused at once", async () => {
  const { clock, answered, take } = setUp();
  const all = Promise.all(Array.from({ length: 130 }, () => take("192.0.2.1")));
  await settle();
  assert.equal(answered.filter((text) => text.endsWith("dropped")).length, 10);
  clock.advance(3_000);
  await all;
  await take("192.0.2.1");
  assert.equal(answered.at(-1), "192.0.2.1", "after a pause the address is answered at once again");
});

test("a caller that disconnects does not wait, and addresses of one /64 network share their turns", async () => {
  const { answered, take } = setUp();
  const abort = new AbortController();
  for (let i = 0; i < 20; i++) await take(`2001:db8::${i + 1}`);
  assert.equal(answered.length, 20);
  const waiting = take("2001:db8::ffff", abort.signal);
  await settle();
  assert.equal(answered.length, 20);
  abort.abort();
  await waiting;
});
