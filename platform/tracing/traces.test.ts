import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { startOtlpCollector } from "../../test/backends/otlp-collector.ts";
import type { Teardown } from "../../test/backends/teardown.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { openTraces } from "./open-traces.ts";
import { batchSpan, exemplarOf, type Span, type Traces } from "./traces.ts";

const CONTEXT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async function start(
  t: Teardown,
  { oneIn = 1, clientsPerSecond = 0 }: { oneIn?: number; clientsPerSecond?: number } = {},
) {
  const collector = await startOtlpCollector(t);
  const clock = new ManualClock();
  const metrics = new Metrics({ exemplars: true });
  const { log, lines } = keptLog();
  const platform = {
    otlpUrl: collector.url,
    traceOneIn: oneIn,
    traceClientsPerSecond: clientsPerSecond,
  };
  const identity = { service: "connect", instanceId: "connect-7" };
  const traces = (await openTraces({ ...identity, platform, log, metrics, clock }))!;
  t.after(async () => {
    const closed = traces.close();
    clock.advance(60_000);
    await closed;
  });
  const dropped = async () =>
    Number(/outcome="dropped"\} (\d+)/.exec(await metrics.text())?.[1] ?? 0);
  return { collector, clock, metrics, lines, traces, dropped, platform };
}

/** Starts and ends spans that begin traces of their own. */
function record(traces: Traces, count: number): Span[] {
  return Array.from({ length: count }, () => {
    const span = traces.start("", { name: "one", kind: "server" });
    span.end();
    return span;
  });
}

/** Loads the modules of a process of the mesh, and returns how many of them are OpenTelemetry's SDK. */
function modulesLoaded(otlpUrl: string): number {
  const program = `
    import { registerHooks } from "node:module";
    let loaded = 0;
    registerHooks({
      load(url, context, next) {
        if (url.includes("/@opentelemetry/sdk-trace/")) loaded++;
        return next(url, context);
      },
    });
    await import("#platform/process/service-process.ts");
    const { openTraces } = await import("#platform/tracing/open-traces.ts");
    const { Metrics } = await import("#platform/metrics.ts");
    const platform = { otlpUrl: ${JSON.stringify(otlpUrl)}, traceOneIn: 0, traceClientsPerSecond: 0 };
    await openTraces({ platform, service: "connect", instanceId: "", metrics: new Metrics() });
    process.stdout.write(String(loaded));
    process.exit();`;
  const args = ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", program];
  return Number(execFileSync(process.execPath, args, { cwd: import.meta.dirname }));
}

test("without a collector nothing is traced, and OpenTelemetry's SDK is not loaded", async () => {
  assert.equal(modulesLoaded(""), 0);
  assert.ok(modulesLoaded("http://127.0.0.1:1") > 0);
  const platform = { otlpUrl: "", traceOneIn: 0, traceClientsPerSecond: 0 };
  const { log, lines } = keptLog();
  const rest = { service: "connect", instanceId: "connect-7", log, metrics: new Metrics() };
  const options = { ...rest, clock: new ManualClock() };
  assert.equal(await openTraces({ ...options, platform }), undefined);
  // A live rate without a collector is no error: the process would not start again.
  assert.equal(
    await openTraces({ ...options, platform: { ...platform, traceOneIn: 1 } }),
    undefined,
  );
  assert.ok(lines.some(({ event }) => event === "traces_without_collector"));
});

test("one in N calls is traced, none with 0, and N may change while the process runs", async (t) => {
  const { traces, platform } = await start(t, { oneIn: 3 });
  const sampled = Array.from({ length: 9 }, () => traces.sample());
  const none = undefined;
  assert.deepEqual(sampled, [none, none, "", none, none, "", none, none, ""]);
  platform.traceOneIn = 2;
  assert.deepEqual([traces.sample(), traces.sample()], [none, ""]);
  const { traces: off } = await start(t, { oneIn: 0 });
  assert.deepEqual(
    Array.from({ length: 9 }, () => off.sample(CONTEXT)),
    Array.from({ length: 9 }, () => none),
  );
});

test("traces of clients are continued up to a bound a second, when they are sampled and valid", async (t) => {
  const { traces, clock } = await start(t, { oneIn: 0, clientsPerSecond: 2 });
  const unsampled = CONTEXT.replace(/01$/, "00");
  const zero = `00-${"0".repeat(32)}-b7ad6b7169203331-01`;
  for (const wrong of [unsampled, zero, "x", `${CONTEXT}-more`, CONTEXT.toUpperCase(), ""])
    assert.equal(traces.sample(wrong), undefined, wrong);
  const many = () => [1, 2, 3].map(() => traces.sample(CONTEXT));
  assert.deepEqual(many(), [CONTEXT, CONTEXT, undefined]);
  clock.advance(999);
  assert.deepEqual(many(), [undefined, undefined, undefined]);
  clock.advance(1);
  assert.deepEqual(many(), [CONTEXT, CONTEXT, undefined]);
});

test("a batch has one span, within the trace of the first and with links to the others", async (t) => {
  const { traces, collector, metrics } = await start(t);
  const [first, second] = record(traces, 2) as [Span, Span];
  assert.equal(batchSpan([], { name: "batch", kind: "client" }), undefined);
  const attributes = { "db.operation.batch.size": 2, "db.system.name": "postgresql" };
  const batch = batchSpan([first, second], { name: "batch", kind: "client", attributes })!;
  class Broken extends Error {
    override readonly name = "Broken";
  }
  const next = traces.continue(batch.traceparent, { name: "next", kind: "consumer" })!;
  next.end(new Broken("with the text of a message"));
  batch.end();
  assert.equal(traces.continue("", { name: "next", kind: "consumer" }), undefined);
  await traces.close();
  const spanOf = (name: string) => collector.spans.find((span) => span.name === name)!;
  const { traceId, spanId } = first;
  const received = spanOf("batch");
  assert.deepEqual([received.traceId, received.parentId], [traceId, spanId]);
  assert.deepEqual(received.links, [{ traceId: second.traceId, spanId: second.spanId }]);
  assert.deepEqual(received.attributes, attributes);
  assert.deepEqual([received.service, received.instanceId], ["connect", "connect-7"]);
  const failed = spanOf("next");
  assert.deepEqual([failed.traceId, failed.parentId], [traceId, received.spanId]);
  assert.deepEqual(failed.attributes, { "error.type": "Broken" });
  assert.equal(collector.spans.length, 4);
  const observe = metrics.tracedHistogram("lucky_x_seconds", "X.", [1], []);
  observe({}, 0.5, exemplarOf(first));
  const page = await metrics.text();
  assert.match(page, /^lucky_trace_spans_total\{outcome="exported"\} 4$/m);
  assert.match(page, new RegExp(`le="1"} 1 # {trace_id="${traceId}",span_id="${spanId}"} 0.5 `));
  assert.match(page, /# EOF\n$/);
});

test("spans beyond the bound of the queue are dropped and counted while a collector hangs, and the close is bounded", async (t) => {
  const { traces, collector, clock, dropped, lines } = await start(t);
  collector.answerWith("nothing");
  record(traces, 4_096 + 10);
  assert.equal(await dropped(), 10);
  await collector.until(() => collector.requests > 0);
  const closing = traces.close();
  clock.advance(2_000);
  await closing;
  assert.equal(await dropped(), 4_096 + 10);
  const last = lines.at(-1)!;
  assert.deepEqual([last.event, last.spans], ["trace_spans_dropped", 4_096]);
});

test("spans that the collector refuses are dropped, and the first failure is logged", async (t) => {
  const { traces, collector, dropped, lines } = await start(t);
  collector.answerWith(400);
  record(traces, 512);
  await collector.until(() => collector.requests === 1);
  record(traces, 512);
  await collector.until(() => collector.requests === 2);
  await traces.close();
  assert.equal(await dropped(), 1_024);
  assert.deepEqual(
    lines.map(({ event }) => event),
    ["trace_export_failed"],
  );
});
