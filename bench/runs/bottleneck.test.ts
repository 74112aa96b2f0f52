import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram } from "../statistics/histogram.ts";
import { bottleneckOf } from "./bottleneck.ts";

function histogramOf(count: number, ms: number): Histogram {
  const histogram = new Histogram();
  for (let n = 0; n < count; n++) histogram.add(ms * 1_000);
  return histogram;
}

/** Bottleneck of ten seconds at 100 messages a second. */
function limitAtRate(options: {
  left?: number;
  lateMs: number;
  latencyMs: number;
  share?: number;
}) {
  const left = options.left ?? 1_000;
  return bottleneckOf({
    load: { kind: "rate", perSecond: 100, burst: 1 },
    elapsedS: 10,
    shares: [options.share ?? 0.2],
    latencies: histogramOf(left, options.latencyMs),
    lateness: histogramOf(left, options.lateMs),
  });
}

test("with a window, a generator that uses a whole core is the bottleneck", () => {
  const limit = (share: number) =>
    bottleneckOf({
      load: { kind: "window", window: 16 },
      elapsedS: 10,
      shares: [0.2, share],
      latencies: histogramOf(10, 5),
      lateness: new Histogram(),
    });
  assert.equal(limit(0.89), undefined);
  assert.match(limit(0.95) ?? "", /95 % of a core/);
});

test("at a rate, a generator is not the bottleneck when its lateness is small compared with the latency, even with a full core", () => {
  assert.equal(limitAtRate({ lateMs: 18, latencyMs: 840, share: 0.99 }), undefined);
  assert.equal(limitAtRate({ lateMs: 5, latencyMs: 6 }), undefined);
});

test("at a rate, a generator is the bottleneck when its lateness is a considerable part of the latency", () => {
  assert.match(limitAtRate({ lateMs: 18, latencyMs: 150 }) ?? "", /late/);
});

test("at a rate, a generator that did not send all due messages is the bottleneck", () => {
  assert.match(limitAtRate({ left: 980, lateMs: 0, latencyMs: 3 }) ?? "", /20 of 1000/);
  assert.equal(limitAtRate({ left: 995, lateMs: 0, latencyMs: 3 }), undefined);
  assert.match(limitAtRate({ left: 0, lateMs: 0, latencyMs: 0 }) ?? "", /1000 of 1000/);
});
