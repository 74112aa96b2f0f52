import assert from "node:assert/strict";
import { test } from "node:test";
import { missingFigures, ratioOf, ratiosOf, valuesOf } from "./ratios.ts";

/** Figures of a run in the format of its last line. */
const figuresOf = (perS: number, cpuUs: number, p50Ms?: number | null) => ({
  delivered_per_s: perS,
  cpu_us_per_message: { all: cpuUs - 9, postgres: 9, generator: 2.2, bench: 0.1 },
  ...(p50Ms !== undefined && { p50_ms: p50Ms }),
});

test("a ratio is the median and the range over the pairs", () => {
  assert.deepEqual(ratioOf([1.2, 0.9, 1.00049]), {
    median: 1,
    lowest: 0.9,
    highest: 1.2,
    pairs: [1.2, 0.9, 1],
  });
  assert.equal(ratioOf([0.5, 1.5, 1, 2]).median, 1.25);
});

test("ratios are new divided by old within each pair, for throughput, CPU and latency", () => {
  const ratios = ratiosOf([
    { new: figuresOf(110, 18, 2), old: figuresOf(100, 20, 4) },
    { new: figuresOf(55, 40, 6), old: figuresOf(50, 50, 6) },
  ]);
  assert.deepEqual(Object.keys(ratios), [
    "delivered_per_s_ratio",
    "server_cpu_us_per_message_ratio",
    "p50_ms_ratio",
  ]);
  assert.deepEqual(ratios.delivered_per_s_ratio?.pairs, [1.1, 1.1]);
  assert.deepEqual(ratios.server_cpu_us_per_message_ratio?.pairs, [0.9, 0.8]);
  assert.deepEqual(ratios.p50_ms_ratio?.pairs, [0.5, 1]);
});

test("a latency that one run does not report is left out of the ratios", () => {
  const pairs = [{ new: figuresOf(1, 10, 3), old: figuresOf(1, 10, null) }];
  assert.equal("p50_ms_ratio" in ratiosOf(pairs), false);
  assert.deepEqual(valuesOf(pairs, "new").p50_ms, [3]);
  assert.equal("p50_ms" in valuesOf(pairs, "old"), false);
});

test("the CPU per message includes the servers, but not the generator and the bench", () => {
  const pairs = [{ new: figuresOf(1, 20), old: figuresOf(1, 25) }];
  assert.deepEqual(valuesOf(pairs, "old").server_cpu_us_per_message, [25]);
});

test("a run without throughput or CPU cannot be compared", () => {
  assert.deepEqual(missingFigures(figuresOf(1, 10)), []);
  assert.deepEqual(missingFigures({}), ["delivered_per_s", "server_cpu_us_per_message"]);
  assert.deepEqual(missingFigures({ ...figuresOf(0, 10) }), ["delivered_per_s"]);
});
