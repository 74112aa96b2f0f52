import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram } from "../../statistics/histogram.ts";
import { Measuring } from "./measurement.ts";

/** Measures from 1,000 to 2,000 µs: what `then` does with it comes after. */
function measure(during: (at: At) => void, then: (at: At) => void = () => undefined) {
  let nowUs = 0;
  const measuring = new Measuring(() => nowUs);
  const at: At = (us, work) => {
    nowUs = us;
    work(measuring);
  };
  at(1_000, () => measuring.begin());
  during(at);
  at(2_000, () => measuring.end());
  then(at);
  const { latencies, lateness } = measuring.times;
  return {
    latencies: new Histogram(new Float64Array(latencies)),
    lateness: new Histogram(new Float64Array(lateness)),
    rounds: measuring.rounds,
  };
}

type At = (us: number, work: (measuring: Measuring) => void) => void;

const dueAt = (timeUs: number, number = 0) => ({ timeUs, user: 0, number });

test("what was due in the window counts with its latency when it arrives long after", () => {
  const { latencies } = measure(
    (at) => at(1_500, (measuring) => measuring.delivered(dueAt(1_490), false)),
    (at) => at(11_000_100, (measuring) => measuring.delivered(dueAt(1_600, 1), false)),
  );
  assert.equal(latencies.count, 2);
  assert.equal(latencies.percentile(0.5), 10);
  assert.ok(latencies.percentile(1) > 10_900_000);
});

test("what was due before the window or after it does not count, whenever it arrives", () => {
  const { latencies } = measure(
    (at) => at(1_100, (measuring) => measuring.delivered(dueAt(900), false)),
    (at) => at(2_100, (measuring) => measuring.delivered(dueAt(2_050), false)),
  );
  assert.equal(latencies.count, 0);
});

test("what is due in the window and leaves after it counts as late", () => {
  const { lateness } = measure(
    (at) => at(1_100, (measuring) => measuring.sent(900, 4)),
    (at) => at(2_090, (measuring) => measuring.sent(1_990, 3)),
  );
  assert.equal(lateness.count, 3);
  assert.equal(lateness.percentile(1), 100);
});

test("of a shared message it is known how many have it, and since when", () => {
  const { latencies, rounds } = measure(
    (at) => at(1_110, (measuring) => measuring.delivered(dueAt(1_100), true)),
    (at) => at(2_500, (measuring) => measuring.delivered(dueAt(1_100), true)),
  );
  assert.equal(latencies.count, 2);
  assert.deepEqual(rounds, [{ number: 0, dueUs: 1_100, devices: 2, lastUs: 2_500 }]);
});
