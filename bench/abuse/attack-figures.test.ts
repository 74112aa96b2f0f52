import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sample } from "../../test/canary/samples.ts";
import { attackFigures } from "./attack-figures.ts";
import { attackTable } from "./attack-table.ts";
import type { MeasuredAttack } from "./measure-attack.ts";

const BEGAN_MS = 5_000;
const ENDED_MS = 25_000;
const LAST_MS = 55_000;

/** Five samples a second, all of one duration except those that `slow` changes. */
function samples(slow: (atMs: number) => number | undefined = () => undefined): Sample[] {
  return Array.from({ length: LAST_MS / 200 }, (_, nth) => {
    const atMs = nth * 200;
    return { atMs, ms: slow(atMs) ?? 8 };
  });
}

/** A measurement in which every bound holds, with some of its parts replaced. */
function measured(
  change: Partial<MeasuredAttack> = {},
  canary: Partial<MeasuredAttack["canary"]> = {},
): MeasuredAttack {
  return {
    canary: {
      acknowledged: samples(),
      delivered: samples(),
      reads: samples(),
      errors: { send: {}, read: {} },
      unanswered: 0,
      lost: 0,
      duplicated: 0,
      ...canary,
    },
    newcomers: { samples: samples(() => 300), errors: {}, unanswered: 0 },
    beganMs: BEGAN_MS,
    endedMs: ENDED_MS,
    memory: { all: { first: 200, most: 900, last: 264 } },
    cpu: new Map([
      ["all", 3],
      ["attacker", 9],
    ]),
    cpuAfter: new Map([["all", 1]]),
    othersCpuS: 0,
    attacker: { counts: {}, answers: { "401 TOKEN_INVALID": 7 }, failures: {} },
    ended: [],
    ...change,
  };
}

const brokenIn = (one: MeasuredAttack) => [...attackFigures(one, new Set(["all"])).broken.keys()];

test("an attack that disturbs nobody breaks no bound", () => {
  const { figures, broken } = attackFigures(measured(), new Set(["all"]));
  assert.deepEqual([...broken], []);
  assert.equal(figures.delivered_p99_ms, 8);
  assert.equal(figures.server_cpu_s, 3);
  assert.equal(figures.server_cpu_after_s, 1);
  assert.equal(figures.newcomers, 100);
  assert.equal(figures.slow_for_s, 0);
});

test("latencies during the attack have bounds", () => {
  const during = (ms: number) => (atMs: number) => (atMs >= BEGAN_MS && atMs < 7_000 ? ms : 31);
  assert.deepEqual(brokenIn(measured({}, { delivered: samples(during(251)) })), [
    "delivered_p50_ms",
    "delivered_p99_ms",
  ]);
  assert.deepEqual(brokenIn(measured({}, { reads: samples(() => 31) })), ["get_user_p50_ms"]);
});

test("slow answers after the attack are allowed for two seconds", () => {
  const until = (endMs: number) => (atMs: number) =>
    atMs >= ENDED_MS && atMs < endMs ? 400 : undefined;
  const early = measured({}, { acknowledged: samples(until(ENDED_MS + 2_000)) });
  assert.deepEqual(brokenIn(early), []);
  assert.equal(attackFigures(early, new Set()).figures.slow_for_s, 2.2);
  const late = measured({}, { acknowledged: samples(until(ENDED_MS + 3_000)) });
  assert.deepEqual(brokenIn(late), ["acknowledged_recovered_p99_ms"]);
});

test("losses, errors, memory, newcomers and ended processes have bounds", () => {
  assert.deepEqual(brokenIn(measured({}, { lost: 1 })), ["lost"]);
  const errors = { send: { OVERLOADED: 2 }, read: {} };
  assert.deepEqual(brokenIn(measured({}, { errors })), ["send errors: OVERLOADED"]);
  const memory = { all: { first: 200, most: 900, last: 265 } };
  assert.deepEqual(brokenIn(measured({ memory })), ["memory all"]);
  const newcomers = { samples: samples(() => 2_001), errors: { UNAVAILABLE: 1 }, unanswered: 0 };
  assert.deepEqual(brokenIn(measured({ newcomers })), [
    "newcomer_max_ms",
    "newcomer errors: UNAVAILABLE",
  ]);
  assert.deepEqual(brokenIn(measured({ ended: ["all"] })), ["ended all"]);
});

test("a figure without a measurement breaks its bound", () => {
  assert.ok(brokenIn(measured({}, { reads: [] })).includes("get_user_p99_ms"));
});

test("the table marks the figures that break a bound", () => {
  const result = attackFigures(measured({}, { lost: 2 }), new Set(["all"]));
  const [, , row] = attackTable(new Map([["refused-calls", result]])).split("\n");
  assert.match(row!, /^\| refused-calls \| 8 \/ 8 \/ 8 \|/);
  assert.match(
    row!,
    /\| all 200 \/ 900 \/ 264 \| 3 \/ 9 \| 300 \/ 300 \| 2 \(!\) \| 401 TOKEN_INVALID × 7 \|$/,
  );
});
