import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { createMicrosecondClock } from "./microsecond-clock.ts";

/** A new thread that writes its clock into shared memory until it is stopped. */
const NEW_THREAD = `
  const { workerData } = await import("node:worker_threads");
  const { createMicrosecondClock } = await import(workerData.module);
  const clockUs = createMicrosecondClock(0);
  const cells = new BigInt64Array(workerData.shared);
  while (Atomics.load(cells, 1) === 0n) Atomics.store(cells, 0, BigInt(clockUs()));
`;

test("threads agree about the time, even right after their start", async () => {
  const clockUs = createMicrosecondClock(0);
  const shared = new SharedArrayBuffer(16);
  const cells = new BigInt64Array(shared);
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(NEW_THREAD)}`), {
    workerData: { shared, module: new URL("./microsecond-clock.ts", import.meta.url).href },
  });
  await once(worker, "online");
  while (Atomics.load(cells, 0) === 0n) await new Promise((resolve) => setImmediate(resolve));
  let leastUs = Number.POSITIVE_INFINITY;
  for (let seen = 0n, readings = 0; readings < 1_000; ) {
    const theirs = Atomics.load(cells, 0);
    if (theirs === seen) continue;
    seen = theirs;
    readings++;
    leastUs = Math.min(leastUs, Math.abs(clockUs() - Number(theirs)));
  }
  Atomics.store(cells, 1, 1n);
  await once(worker, "exit");
  // The smallest difference is used: pauses of the machine only enlarge the others.
  assert.ok(leastUs < 300, `${leastUs} µs apart`);
});
