import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "./metrics.ts";

test("a metric is created once, and a name has one kind", () => {
  const metrics = new Metrics();
  const one = metrics.counter("lucky_a_total", "A.");
  assert.equal(metrics.counter("lucky_a_total", "A."), one);
  assert.notEqual(new Metrics().counter("lucky_a_total", "A."), one);
  assert.throws(() => metrics.gauge("lucky_a_total", "A."), /exists already as another kind/);
  assert.throws(() => metrics.counter("a_total", "A."), /must start with lucky_/);
});

test("a second registration of a name with another help text, other labels or other buckets is an error", () => {
  const metrics = new Metrics();
  const counter = metrics.counter("lucky_d_total", "D.", ["kind", "cause"]);
  assert.equal(metrics.counter("lucky_d_total", "D.", ["kind", "cause"]), counter);
  assert.throws(
    () => metrics.counter("lucky_d_total", "Other.", ["kind", "cause"]),
    /metric lucky_d_total exists already with another help text/,
  );
  assert.throws(() => metrics.counter("lucky_d_total", "D.", ["kind"]), /with other labels/);
  assert.throws(() => metrics.counter("lucky_d_total", "D."), /with other labels/);
  const gauge = metrics.gauge("lucky_e", "E.");
  assert.equal(metrics.gauge("lucky_e", "E."), gauge);
  assert.throws(() => metrics.gauge("lucky_e", "Other."), /with another help text/);
  assert.throws(() => metrics.histogram("lucky_e", "E.", [1]), /as another kind/);
  const histogram = metrics.histogram("lucky_f_seconds", "F.", [0.1, 1], ["kind"]);
  assert.equal(metrics.histogram("lucky_f_seconds", "F.", [0.1, 1], ["kind"]), histogram);
  assert.throws(
    () => metrics.histogram("lucky_f_seconds", "F.", [0.1, 2], ["kind"]),
    /with other buckets/,
  );
});

test("a tally reaches its counter when the metrics are read, once", async () => {
  const metrics = new Metrics();
  const counter = metrics.counter("lucky_b_total", "B.", ["kind"]);
  const tally = metrics.tally(counter, { kind: "odd" });
  tally.add();
  tally.add(4);
  counter.inc({ kind: "odd" }, 2);
  assert.match(await metrics.text(), /^lucky_b_total\{kind="odd"\} 7$/m);
  assert.match(await metrics.text(), /^lucky_b_total\{kind="odd"\} 7$/m);
  const plain = metrics.tally(metrics.counter("lucky_c_total", "C."));
  plain.add(3);
  assert.match(await metrics.text(), /^lucky_c_total 3$/m);
});

test("a sampled gauge has the sum of its current values, also after they changed", async () => {
  const metrics = new Metrics();
  let waiting = 3;
  const help = "Waiting.";
  metrics.sampled("lucky_g", help, ["pool"], () => [[{ pool: "a" }, waiting]]);
  metrics.sampled("lucky_g", help, ["pool"], () => [
    [{ pool: "a" }, 4],
    [{ pool: "b" }, 1],
  ]);
  assert.match(await metrics.text(), /lucky_g\{pool="a"\} 7\nlucky_g\{pool="b"\} 1/);
  waiting = 0;
  assert.match(await metrics.text(), /lucky_g\{pool="a"\} 4\nlucky_g\{pool="b"\} 1/);
});
