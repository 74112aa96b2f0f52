import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createRefusalPace } from "./refusal-pace.ts";

/** Lets resolved promises run. */
const settle = () => new Promise(setImmediate);

function setUp() {
  const clock = new ManualClock();
  const pace = createRefusalPace(clock);
  const answered: string[] = [];
  const refuse = (address: string, signal?: AbortSignal) =>
    pace.turn(address, signal).then((inTurn) => {
      answered.push(inTurn ? address : `${address} dropped`);
    });
  return { clock, answered, refuse };
}

test("twenty refusals of an address are answered at once, and then fifty a second", async () => {
  const { clock, answered, refuse } = setUp();
  const all = Promise.all(Array.from({ length: 100 }, () => refuse("192.0.2.1")));
  await settle();
  assert.equal(answered.length, 21);
  clock.advance(1_000);
  await settle();
  assert.equal(answered.length, 71);
  await refuse("192.0.2.2");
  assert.equal(answered.at(-1), "192.0.2.2", "another address does not wait");
  clock.advance(1_000);
  await all;
});

test("an address whose refusals would wait for more than two seconds is dropped", async () => {
  const { clock, answered, refuse } = setUp();
  const all = Promise.all(Array.from({ length: 130 }, () => refuse("192.0.2.1")));
  await settle();
  assert.equal(answered.filter((text) => text.endsWith("dropped")).length, 9);
  clock.advance(3_000);
  await all;
  await refuse("192.0.2.1");
  assert.equal(answered.at(-1), "192.0.2.1", "after a pause the address is answered at once again");
});

test("a caller that disconnects does not wait, and addresses of one /64 network share their turns", async () => {
  const { answered, refuse } = setUp();
  const abort = new AbortController();
  for (let i = 0; i < 21; i++) await refuse(`2001:db8::${i + 1}`);
  assert.equal(answered.length, 21);
  const waiting = refuse("2001:db8::ffff", abort.signal);
  await settle();
  assert.equal(answered.length, 21);
  abort.abort();
  await waiting;
});
