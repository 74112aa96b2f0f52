import assert from "node:assert/strict";
import { test } from "node:test";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { serveOps } from "./ops.ts";

test("operators read metrics, health, start and readiness", async (t) => {
  const { log } = keptLog();
  const metrics = new Metrics();
  metrics.counter("lucky_things_total", "Things.", ["kind"]).inc({ kind: "odd" });
  let ready = false;
  let isStarted = false;
  const started = () => isStarted;
  const options = { host: "127.0.0.1", metrics, started, ready: () => ready, log };
  const ops = await serveOps({ ...options, port: 0 });
  t.after(() => ops.close());
  const get = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${ops.port}${path}`);
    return { status: answer.status, body: await answer.text(), headers: answer.headers };
  };
  const page = await get("/metrics");
  assert.equal(page.headers.get("content-type"), metrics.contentType);
  assert.match(page.body, /^lucky_things_total\{kind="odd"\} 1$/m);
  assert.match(page.body, /^process_cpu_seconds_total /m);
  assert.equal((await get("/healthz")).status, 200);
  assert.equal((await get("/startz")).status, 503);
  assert.equal((await get("/readyz")).status, 503);
  isStarted = true;
  ready = true;
  assert.equal((await get("/startz")).status, 200);
  assert.equal((await get("/readyz?x")).status, 200);
  ready = false;
  assert.equal((await get("/startz")).status, 200);
  assert.equal((await get("/readyz")).status, 503);
  assert.equal((await get("/other")).status, 404);
  await assert.rejects(
    serveOps({ ...options, port: ops.port }),
    /cannot listen on 127.0.0.1:\d+: the port is taken/,
  );
});
