import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram } from "../../statistics/histogram.ts";
import { Measurement } from "./measurement.ts";

/** Measures from 1,000 to 2,000 µs; `then` runs after that. */
function measure(during: (at: At) => void, then: (at: At) => void = () => undefined) {
  let nowUs = 0;
  const measurement = new Measurement(() => nowUs);
  const at: At = (us, work) => {
    nowUs = us;
    work(measurement);
  };
  at(1_000, () => measurement.begin());
  during(at);
  at(2_000, () => measurement.end());
  then(at);
  const { latencies, lateness } = measurement.latencies;
  return {
    latencies: new Histogram(new Float64Array(latencies)),
    lateness: new Histogram(new Float64Array(lateness)),
    rounds: measurement.rounds,
  };
}

type At = (us: number, work: (measurement: Measurement) => void) => void;

const dueAt = (timeUs: number, number = 0) => ({ timeUs, user: 0, number });

test("a message that was due during the measurement counts even when it arrives long after its end", () => {
  const { latencies } = measure(
    (at) => at(1_500, (measurement) => measurement.delivered(dueAt(1_490), false)),
    (at) => at(11_000_100, (measurement) => measurement.delivered(dueAt(1_600, 1), false)),
  );
  assert.equal(latencies.count, 2);
  assert.equal(latencies.percentile(0.5), 10);
  assert.ok(latencies.percentile(1) > 10_900_000);
});

test("a message that was due before or after the measurement does not count, whenever it arrives", () => {
  const { latencies } = measure(
    (at) => at(1_100, (measurement) => measurement.delivered(dueAt(900), false)),
    (at) => at(2_100, (measurement) => measurement.delivered(dueAt(2_050), false)),
  );
  assert.equal(latencies.count, 0);
});

test("a message that was due during the measurement and is sent after it counts as late", () => {
  const { lateness } = measure(
    (at) => at(1_100, (measurement) => measurement.sent(900, 4)),
    (at) => at(2_090, (measurement) => measurement.sent(1_990, 3)),
  );
  assert.equal(lateness.count, 3);
  assert.equal(lateness.percentile(1), 100);
});

test("a shared message records how many devices received it, and when the last one did", () => {
  const { latencies, rounds } = measure(
    (at) => at(1_110, (measurement) => measurement.delivered(dueAt(1_100), true)),
    (at) => at(2_500, (measurement) => measurement.delivered(dueAt(1_100), true)),
  );
  assert.equal(latencies.count, 2);
  assert.deepEqual(rounds, [{ number: 0, dueUs: 1_100, devices: 2, lastUs: 2_500 }]);
});
