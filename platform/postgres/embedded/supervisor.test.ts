import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { keptLog } from "../../log.fixture.ts";
import type { Postmaster } from "./postmaster.ts";
import { supervise } from "./supervisor.ts";

/** A postmaster that a test ends; `stop` ends it, too. */
function postmaster(): Postmaster & { end(): void; stopped: boolean } {
  const { promise, resolve } = Promise.withResolvers<{ code: number; signal: null }>();
  const end = () => resolve({ code: 2, signal: null });
  return {
    exited: promise,
    end,
    stopped: false,
    async stop() {
      this.stopped = true;
      end();
    },
  };
}

test("five attempts with growing delays fail before it gives up, and a healthy minute resets them", async () => {
  const clock = new ManualClock();
  const { log } = keptLog("silent");
  const first = postmaster();
  const second = postmaster();
  const startedAt: number[] = [];
  const answers: (Postmaster | Error)[] = [second];
  const start = async () => {
    startedAt.push(clock.elapsed());
    const answer = answers.shift() ?? new Error("the disk is full");
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const { failed } = supervise({ first, start, clock, log });
  const from = clock.elapsed();
  first.end();
  await turn();
  clock.advance(60_000);
  second.end();
  for (const delayMs of [0, 1_000, 2_000, 4_000, 8_000]) {
    await turn();
    clock.advance(delayMs);
  }
  assert.equal(
    (await failed).message,
    "PostgreSQL has ended, and 5 attempts to restart it failed. the disk is full",
  );
  assert.deepEqual(
    startedAt.map((at) => at - from),
    [0, 60_000, 61_000, 63_000, 67_000, 75_000],
  );
});

test("a stop ends the back-off, and no attempt follows", async () => {
  const clock = new ManualClock();
  const { log } = keptLog("silent");
  const first = postmaster();
  let attempts = 0;
  const start = async () => {
    attempts += 1;
    throw new Error("no");
  };
  const { stop } = supervise({ first, start, clock, log });
  first.end();
  await turn();
  await Promise.all([stop(), stop()]);
  clock.advance(60_000);
  await turn();
  assert.equal(attempts, 1);
  assert.equal(clock.waiting, 0);
});

test("a stop during a restart ends the PostgreSQL that just started", async () => {
  const { log } = keptLog("silent");
  const first = postmaster();
  const second = postmaster();
  const starting = Promise.withResolvers<Postmaster>();
  let aborted = false;
  const { stop } = supervise({
    first,
    start: (signal) => {
      signal.addEventListener("abort", () => {
        aborted = true;
      });
      return starting.promise;
    },
    clock: new ManualClock(),
    log,
  });
  first.end();
  await turn();
  const stopped = stop();
  assert.ok(aborted);
  starting.resolve(second);
  await stopped;
  assert.ok(second.stopped);
});
