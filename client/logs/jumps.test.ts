import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { MemoryStore } from "../store.ts";
import { entry, range, setUp } from "./log-server.fixture.ts";

type Numbers = [low: number, high: number, exactTo: number];

const numbers = (ranges: readonly { low: bigint; high: bigint; exactTo: bigint }[]) =>
  ranges.map(({ low, high, exactTo }) => [low, high, exactTo].map(Number) as Numbers);

/** A device with the entries 1 to 10 of a conversation, which is away while it grows. */
async function away(length: number, changed: Record<number, number> = {}) {
  const store = new MemoryStore();
  const before = setUp({ 11: 10 }, { store });
  await before.logs.sync();
  const after = setUp({ 11: length }, { store, jumpEntries: 1_000 });
  after.server.changed[11] = changed;
  /** Loads the state from the store, as a new run does. */
  const restore = async () => {
    const stored = await store.load();
    // Sync gives the conversation again.
    after.logs.restore({ ...stored, cursor: "" });
    after.ranges.restore(stored);
  };
  await restore();
  return { ...after, restore };
}

test("a device that was away for long jumps to the end, and its older messages become exact", async () => {
  const changed = { 2: 900, 3: 11, 4: 7, 9: 1_200, 10: 5_000, 4000: 4_500 };
  const { logs, seen, ranges, arrived, asked, askedChanged, store } = await away(5_000, changed);
  await logs.sync();
  // Message 4 was changed before the device went away, and 4000 is not here.
  assert.deepEqual(seen, ["11 10..5000", "11/3@11", "11/2@900", "11/9@1200", "11/10@5000"]);
  assert.equal(asked.length, 0);
  assert.deepEqual(
    askedChanged.map(({ pageToken }) => pageToken),
    ["", "900"],
  );
  assert.equal(logs.last("11"), 5_000n);
  assert.equal(arrived.get("11"), 5_000n);
  assert.deepEqual(numbers(ranges.of("11")), [[1, 10, 5_000]]);
  logs.deliver([entry("11", 5_001)]);
  assert.deepEqual(seen.at(-1), "11/5001");
  assert.deepEqual(numbers(ranges.of("11")), [
    [1, 10, 5_001],
    [5_001, 5_001, 5_001],
  ]);
  const stored = await store.load();
  assert.equal(stored.positions.get("11")?.sequence, 5_001n);
  assert.equal(numbers(stored.ranges.get("11")!.ranges).length, 2);
});

test("a device that was away for a short time fetches the log", async () => {
  const { logs, seen, ranges, askedChanged } = await away(1_010, { 3: 500 });
  await logs.sync();
  assert.deepEqual(seen, range("11", 11, 1_010));
  assert.equal(askedChanged.length, 0);
  assert.deepEqual(numbers(ranges.of("11")), [[1, 1_010, 1_010]]);
});

test("a connected device that learns that it is far behind jumps, too", async () => {
  const { logs, seen, ranges, lengths, until } = await away(10);
  await logs.sync();
  lengths[11] = 3_000;
  logs.syncRequired("11", 3_000n);
  await until(1);
  assert.deepEqual(seen, ["11 10..3000"]);
  while (numbers(ranges.of("11"))[0]![2] < 3_000) await turn();
  assert.deepEqual(numbers(ranges.of("11")), [[1, 10, 3_000]]);
});

test("a device that jumps shows the entries that it received meanwhile", async () => {
  const { logs, seen, ranges } = await away(5_000);
  logs.deliver([entry("11", 4_999), entry("11", 5_001), entry("11", 5_002)]);
  await logs.sync();
  assert.deepEqual(seen, ["11 10..5000", "11/5001", "11/5002"]);
  assert.equal(logs.last("11"), 5_002n);
  const tail: Numbers = [5_001, 5_002, 5_002];
  // This server answers as of the entry 5000.
  assert.deepEqual(numbers(ranges.of("11")), [[1, 10, 5_000], tail]);
});

test("a second jump while changed messages are read loses none of them", async () => {
  const { logs, seen, server, lengths, ranges, until } = await away(5_000, { 3: 11 });
  server.duringCall = async () => {
    server.duringCall = () => {};
    // The answer has the changes up to 5000.
    lengths[11] = 8_000;
    server.changed[11] = { 3: 11, 4: 7_000 };
    logs.syncRequired("11", 8_000n);
    await until(2);
  };
  await logs.sync();
  assert.deepEqual(seen, ["11 10..5000", "11 5000..8000", "11/3@11", "11/4@7000"]);
  assert.deepEqual(numbers(ranges.of("11")), [[1, 10, 8_000]]);
});

test("a process that dies between the pages of changed messages gets them in the next run", async () => {
  const changed = { 2: 900, 3: 11, 9: 1_200, 10: 5_000 };
  const { logs, seen, server, ranges, restore, history } = await away(5_000, changed);
  let calls = 0;
  server.duringCall = () => {
    if (++calls === 2) throw new ConnectError("lost", Code.InvalidArgument);
  };
  await assert.rejects(logs.sync());
  assert.deepEqual(seen.splice(0), ["11 10..5000", "11/3@11", "11/2@900"]);
  logs.stop();
  history.stop();
  await restore();
  assert.deepEqual(numbers(ranges.of("11")), [[1, 10, 10]]);
  await logs.sync();
  assert.deepEqual(seen, ["11/3@11", "11/2@900", "11/9@1200", "11/10@5000"]);
  assert.deepEqual(numbers(ranges.of("11")), [[1, 10, 5_000]]);
});

test("a failed read of changed messages is retried", async () => {
  const { logs, seen, server, clock } = await away(5_000, { 3: 11 });
  const failures = [Code.Unavailable, Code.Unavailable];
  server.duringCall = () => {
    const code = failures.shift();
    if (code !== undefined) throw new ConnectError("later", code);
  };
  const synced = logs.sync();
  for (let retry = 0; retry < 2; retry++) {
    while (clock.waiting === 0) await turn();
    clock.advance(30_000);
  }
  await synced;
  assert.deepEqual(seen, ["11 10..5000", "11/3@11"]);
});

test("pages of older messages are returned, not emitted, and their ranges join", async () => {
  const { logs, seen, ranges, history, askedChanged } = await away(5_000);
  await logs.sync();
  seen.splice(0);
  const newest = await history.before("11", undefined, 100);
  assert.deepEqual([newest.low, newest.high, newest.exactTo], [4_901n, 5_000n, 5_000n]);
  assert.equal(newest.messages.length, 100);
  await history.before("11", newest.low, 100);
  assert.deepEqual(numbers(ranges.of("11")), [
    [1, 10, 5_000],
    [4_801, 5_000, 5_000],
  ]);
  logs.deliver([entry("11", 5_001)]);
  assert.deepEqual(numbers(ranges.of("11")), [
    [1, 10, 5_001],
    [4_801, 5_001, 5_001],
  ]);
  for (let before = 4_801n; before > 1n; ) before = (await history.before("11", before, 100)).low;
  assert.deepEqual(numbers(ranges.of("11")), [[1, 5_001, 5_001]]);
  assert.deepEqual(seen, ["11/5001"]);
  assert.equal(askedChanged.length, 1, "only the jump made something exact");
});

test("a change that arrives while a page is read follows as a changed message", async () => {
  const { logs, seen, ranges, server, lengths, history, until } = await away(5_000);
  await logs.sync();
  seen.splice(0);
  server.duringCall = (call) => {
    if (call !== "listMessages") return;
    // The page was read; entry 5001 changes message 4990 before the answer arrives.
    lengths[11] = 5_001;
    server.changed[11] = { 4990: 5_001 };
    logs.deliver([entry("11", 5_001)]);
  };
  const { messages } = await history.before("11", undefined, 20);
  assert.equal(messages.at(9)?.sequence, 4_990n);
  assert.equal(messages.at(9)?.state?.changedSequence, 0n);
  await until(2);
  assert.deepEqual(seen, ["11/5001", "11/4990@5001"]);
  while (ranges.of("11").some(({ exactTo }) => exactTo < 5_001n)) await turn();
  assert.deepEqual(numbers(ranges.of("11")), [
    [1, 10, 5_001],
    [4_981, 5_001, 5_001],
  ]);
});

test("a page of another epoch resets the log, and nothing is kept of the ranges", async () => {
  const { logs, seen, ranges, server, lengths, history, store, until } = await away(20);
  await logs.sync();
  seen.splice(0);
  server.epoch = 2n;
  lengths[11] = 3;
  await history.before("11", undefined, 10);
  await until(4);
  assert.deepEqual(seen, ["11 reset", ...range("11", 1, 3)]);
  assert.deepEqual(numbers(ranges.of("11")), [[1, 3, 3]]);
  const { ranges: stored } = await store.load();
  assert.deepEqual(numbers(stored.get("11")!.ranges), [[1, 3, 3]]);
});

test("ranges that the store has move on with the position, and old data without ranges loads", async () => {
  const store = new MemoryStore();
  store.savePosition("11", { sequence: 30n, epoch: 1n });
  store.savePosition("12", { sequence: 4n, epoch: 1n });
  const stored = [
    { low: 1n, high: 5n, exactTo: 12n },
    { low: 8n, high: 10n, exactTo: 20n },
    { low: 15n, high: 20n, exactTo: 20n },
  ];
  store.saveRanges("11", { at: 20n, ranges: stored });
  const { ranges } = setUp({}, { store });
  ranges.restore(await store.load());
  assert.deepEqual(numbers(ranges.of("11")), [
    [1, 5, 12],
    [8, 10, 30],
    [15, 30, 30],
  ]);
  assert.deepEqual(ranges.of("12"), []);
  ranges.moved("12", 4n, 6n);
  assert.deepEqual(numbers(ranges.of("12")), [[5, 6, 6]]);
});
