import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { createMicros } from "./microsecond-clock.ts";

/** Reads the clock of a thread that has just begun, over and over, into shared memory. */
const YOUNG = `
  const { workerData } = await import("node:worker_threads");
  const { createMicros } = await import(workerData.module);
  const micros = createMicros(0);
  const cells = new BigInt64Array(workerData.shared);
  while (Atomics.load(cells, 1) === 0n) Atomics.store(cells, 0, BigInt(micros()));
`;

test("threads agree about the time, however young they are", async () => {
  const micros = createMicros(0);
  const shared = new SharedArrayBuffer(16);
  const cells = new BigInt64Array(shared);
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(YOUNG)}`), {
    workerData: { shared, module: new URL("./microsecond-clock.ts", import.meta.url).href },
  });
  await once(worker, "online");
  while (Atomics.load(cells, 0) === 0n) await new Promise((resolve) => setImmediate(resolve));
  let leastUs = Number.POSITIVE_INFINITY;
  for (let seen = 0n, looks = 0; looks < 1_000; ) {
    const theirs = Atomics.load(cells, 0);
    if (theirs === seen) continue;
    seen = theirs;
    looks++;
    leastUs = Math.min(leastUs, Math.abs(micros() - Number(theirs)));
  }
  Atomics.store(cells, 1, 1n);
  await once(worker, "exit");
  // The closest of many looks at a new value: a pause of the machine in some of them changes nothing.
  assert.ok(leastUs < 300, `${leastUs} µs apart`);
});
