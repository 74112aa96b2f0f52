import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram } from "./histogram.ts";

test("small values are kept exactly", () => {
  const histogram = new Histogram();
  for (let value = 1; value <= 100; value++) histogram.add(value);
  assert.equal(histogram.count, 100);
  assert.equal(histogram.percentile(0.5), 50);
  assert.equal(histogram.percentile(0.99), 99);
  assert.equal(histogram.percentile(1), 100);
});

test("values of every size are read back within one per cent", () => {
  for (let value = 1; value < 2 ** 32; value = Math.ceil(value * 1.37)) {
    const histogram = new Histogram();
    histogram.add(value);
    const back = histogram.percentile(0.5);
    assert.ok(Math.abs(back - value) <= value / 100, `${value} came back as ${back}`);
  }
});

test("larger values are never in a slot before smaller ones", () => {
  let before = -1;
  for (let value = 0; value < 2 ** 20; value += 97) {
    const histogram = new Histogram();
    histogram.add(value);
    const back = histogram.percentile(0.5);
    assert.ok(back >= before);
    before = back;
  }
});

test("values out of range count as the bound", () => {
  const histogram = new Histogram();
  histogram.add(-5);
  histogram.add(2 ** 40);
  assert.equal(histogram.percentile(0), 0);
  assert.ok(histogram.percentile(1) > 2 ** 32 * 0.99);
});

test("merged histograms have the counts of both", () => {
  const [one, two] = [new Histogram(), new Histogram()];
  for (let n = 0; n < 90; n++) one.add(10);
  for (let n = 0; n < 10; n++) two.add(1_000);
  one.merge(two);
  assert.equal(one.count, 100);
  assert.equal(one.percentile(0.9), 10);
  assert.ok(one.percentile(0.91) > 990);
});

test("an empty histogram has no percentile", () => {
  assert.ok(Number.isNaN(new Histogram().percentile(0.5)));
});
