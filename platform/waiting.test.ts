import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../test/clock/manual-clock.ts";
import { createLog } from "./log.ts";
import { whenReachable } from "./waiting.ts";

function scene() {
  const lines: string[] = [];
  const clock = new ManualClock();
  const stream = { write: (line: string) => void lines.push(line) };
  const log = createLog({ service: "auth", instanceId: "auth-0", level: "info", stream, clock });
  const stop = new AbortController();
  const isAway = (error: unknown) => (error as Error).message === "away";
  return {
    clock,
    stop,
    events: () =>
      lines.map((line) => JSON.parse(line)).map(({ event, backend }) => [event, backend]),
    options: { clock, log, isAway, stopping: stop.signal },
  };
}

test("a step is retried with a back-off while its backend is away, and two lines are logged", async () => {
  const { clock, events, options } = scene();
  const atMs: number[] = [];
  const step = async () => {
    atMs.push(clock.elapsed());
    if (atMs.length < 12) throw new Error("away");
    return "open";
  };
  const result = whenReachable("PostgreSQL", step, options);
  await new Promise(setImmediate);
  while (atMs.length < 12) {
    clock.advance(100);
    await new Promise(setImmediate);
  }
  assert.equal(await result, "open");
  const waits = atMs.slice(1).map((ms, i) => ms - atMs[i]!);
  assert.deepEqual(waits.slice(0, 7), [100, 200, 400, 800, 1_600, 3_200, 5_000]);
  assert.ok(waits.slice(7).every((ms) => ms === 5_000));
  assert.deepEqual(events(), [
    ["waiting", "PostgreSQL"],
    ["waited", "PostgreSQL"],
  ]);
});

test("any other error ends the wait, and so does a stop", async () => {
  const { options, stop, clock } = scene();
  const fails = async () => {
    throw new Error("wrong password");
  };
  await assert.rejects(whenReachable("PostgreSQL", fails, options), /wrong password/);
  let attempts = 0;
  const away = async () => {
    attempts += 1;
    throw new Error("away");
  };
  const waiting = whenReachable("PostgreSQL", away, options);
  const ended = assert.rejects(waiting, (error) => error === stop.signal.reason);
  await new Promise(setImmediate);
  stop.abort();
  await ended;
  clock.advance(60_000);
  assert.equal(attempts, 1);
  await assert.rejects(
    whenReachable("PostgreSQL", away, { ...options, stopping: undefined }),
    /away/,
  );
});
