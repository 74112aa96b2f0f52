import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { sumOfMetric } from "./metrics.ts";

test("a metric is summed over labels and processes, and metrics with a longer name are not", async (t) => {
  const text = [
    "# HELP lucky_a_total A.",
    'lucky_a_total{outcome="ok"} 2',
    'lucky_a_total{outcome="failed"} 3',
    "lucky_a_total_more 100",
    "lucky_b 7",
  ].join("\n");
  const server = createServer((_, response) => void response.end(text)).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  const url = `http://127.0.0.1:${port}`;
  assert.equal(await sumOfMetric([url, url], "lucky_a_total"), 10);
  assert.equal(await sumOfMetric([url], "lucky_b"), 7);
});
