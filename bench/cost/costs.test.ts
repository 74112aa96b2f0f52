import assert from "node:assert/strict";
import { test } from "node:test";
import { costFigures, costTable } from "./cost-table.ts";
import { type Cost, costOf } from "./costs.ts";
import { readSessionSizes } from "./session-sizes.ts";

const used = (seconds: number, cpu: Record<string, number>) => ({
  seconds,
  cpu: new Map(Object.entries(cpu)),
});

test("a cost is the servers' CPU per unit, without the CPU of the same time without these units", () => {
  const cost = costOf({
    per: "message",
    count: 1_000,
    used: used(10, { postgres: 1.2, connect: 0.5, generator: 3, bench: 2 }),
    without: used(5, { postgres: 0.1, auth: 0.05 }),
  });
  assert.deepEqual({ ...cost, us: undefined }, { per: "message", count: 1_000, us: undefined });
  const rounded = Object.entries(cost.us).map(([name, us]) => [name, Math.round(us)]);
  assert.deepEqual(rounded, [
    ["postgres", 1_000],
    ["connect", 500],
    ["auth", -100],
  ]);
});

test("the table has a column for each process, and a cost without a process shows 0", () => {
  const costs = new Map<string, Cost>([
    ["message", { per: "message", count: 12.4, us: { postgres: 9.123, all: 10 } }],
    ["cursor", { per: "acknowledgement", count: 3, us: { postgres: 4 } }],
  ]);
  assert.equal(
    costTable(costs),
    [
      "| cost | per | measured | postgres | all | sum |",
      "| --- | --- | --- | --- | --- | --- |",
      "| message | message | 12 | 9.12 | 10 | 19.12 |",
      "| cursor | acknowledgement | 3 | 4 | 0 | 4 |",
    ].join("\n"),
  );
  assert.deepEqual(costFigures(costs).cursor, {
    per: "acknowledgement",
    count: 3,
    us: { postgres: 4, sum: 4 },
  });
});

test("sizes of idle sessions are sessions × conversations, and other text is refused", () => {
  assert.deepEqual(readSessionSizes("1000x10, 2x3"), [
    { sessions: 1_000, conversations: 10 },
    { sessions: 2, conversations: 3 },
  ]);
  for (const text of ["", "5", "0x3", "3x0", "3x4,", "ax3"]) {
    assert.throws(() => readSessionSizes(text), /--sizes must be a list/, text);
  }
});
