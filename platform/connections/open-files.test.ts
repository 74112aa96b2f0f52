import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { openConnectionBounds, openFileLimit } from "./open-files.ts";

const DERIVED = { connections: 0, connectionsPerAddress: 0, connectionsPerNetwork: 0 };

/** Opens the bounds of a gateway. Returns the lines that it logs. */
function open(openFiles: number, limits: Partial<typeof DERIVED> = {}) {
  const lines: Record<string, unknown>[] = [];
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) };
  openConnectionBounds({
    limits: { ...DERIVED, ...limits },
    filesPerConnection: 2,
    log: createLog({ service: "test", instanceId: "test-0", level: "info", stream }),
    metrics: new Metrics(),
    clock: new ManualClock(),
    openFiles,
  });
  const { all, address, network } = lines.find(({ event }) => event === "connection_bounds")!;
  return {
    maxima: [all, address, network],
    low: lines.find(({ event }) => event !== "connection_bounds"),
  };
}

test("the maxima follow from the open-file limit, with a reserve", () => {
  assert.deepEqual(open(1_024).maxima, [384, 96, 192]);
  assert.deepEqual(open(65_536).maxima, [32_640, 1_000, 4_000]);
  assert.deepEqual(open(Number.POSITIVE_INFINITY).maxima, [4_999_872, 1_000, 4_000]);
});

test("the settings override them, up to the open-file limit", () => {
  const limits = { connections: 5_000, connectionsPerAddress: 3_000, connectionsPerNetwork: 7_000 };
  assert.deepEqual(open(65_536, limits).maxima, [5_000, 3_000, 7_000]);
  const { maxima, low } = open(4_096, limits);
  assert.deepEqual(maxima, [1_920, 3_000, 7_000]);
  assert.equal(low?.event, "open_file_limit_low");
  assert.equal(low?.wanted, 5_000);
});

test("the maxima follow their settings while the process runs", () => {
  const limits = { ...DERIVED, connections: 2 };
  const bounds = openConnectionBounds({
    limits,
    filesPerConnection: 1,
    log: quiet,
    metrics: new Metrics(),
    clock: new ManualClock(),
    openFiles: 1_024,
  });
  const open = () => bounds.open(undefined) !== undefined;
  assert.deepEqual([open(), open(), open()], [true, true, false]);
  limits.connections = 3;
  assert.deepEqual([open(), open()], [true, false]);
  limits.connections = 1;
  assert.equal(open(), false);
});

test("a low open-file limit causes a warning, and one too low to serve anybody an error", () => {
  const { low } = open(1_024);
  assert.equal(low?.event, "open_file_limit_low");
  assert.equal(low?.openFiles, 1_024);
  assert.equal(low?.connections, 384);
  assert.equal(open(65_536).low, undefined);
  assert.throws(
    () => open(256),
    /^Error: The process may open 256 files, and needs at least 288: /,
  );
});

test("the open-file limit of this process is known", () => {
  assert.ok(openFileLimit() >= 256);
});
