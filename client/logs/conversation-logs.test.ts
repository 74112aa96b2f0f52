import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { entry, range, setUp } from "./log-server.fixture.ts";

test("a new device starts after the entries that the user's other devices have received", async () => {
  const { logs, seen, arrived } = setUp({ 11: 5 }, { delivered: 3 });
  await logs.sync();
  assert.deepEqual(seen, ["11/4", "11/5"]);
  assert.equal(arrived.get("11"), 5n);
});

test("a device repeats an incomplete sync, and starts its late conversations like the others", async () => {
  const { logs, seen, clock, lengths, synced, until } = setUp(
    { 11: 5 },
    { delivered: 3, unreadable: [2_000n], random: () => 0 },
  );
  await logs.sync();
  assert.deepEqual(seen, ["11/4", "11/5"]);
  lengths[12] = 4;
  clock.advance(1_999);
  assert.equal(synced.length, 1);
  clock.advance(1);
  await until(3);
  assert.deepEqual(seen.slice(2), ["12/4"]);
  await logs.sync();
  clock.advance(10_000);
  assert.deepEqual(
    synced.map(({ cursor }) => cursor),
    ["", "1", "2"],
  );
});

test("an incomplete sync is repeated after a delay that grows at random until a sync is complete", async () => {
  const unreadable = [...Array<bigint>(8).fill(2_000n), 0n, 2_000n];
  const { logs, clock, synced } = setUp({ 11: 5 }, { unreadable, random: () => 0.5 });
  /** The delay before the next sync, which then starts. */
  const delay = async () => {
    while (clock.waiting === 0) await turn();
    const fromMs = clock.elapsed();
    while (clock.waiting > 0) clock.advance(500);
    return clock.elapsed() - fromMs;
  };
  await logs.sync();
  const delays: number[] = [];
  for (let count = 0; count < 8; count += 1) delays.push(await delay());
  assert.deepEqual(delays, [3_000, 4_000, 6_000, 10_000, 18_000, 32_000, 32_000, 32_000]);
  while (synced.length < 9) await turn();
  await logs.sync();
  assert.equal(await delay(), 3_000, "a complete sync resets the back-off");
});

test("a new device with the whole history starts at the first entry that the user may see", async () => {
  const { logs, seen } = setUp({ 11: 5 }, { delivered: 5, first: 2, history: "all" });
  await logs.sync();
  assert.deepEqual(seen, range("11", 2, 5));
});

test("a device that was offline catches up in pages, over all conversations", async () => {
  const { logs, seen, asked, synced } = setUp({ 11: 1_200, 12: 1, 13: 2 });
  await logs.sync();
  assert.deepEqual(
    seen.filter((one) => one.startsWith("11")),
    range("11", 1, 1_200),
  );
  assert.equal(seen.length, 1_203);
  assert.deepEqual(
    synced.map((request) => request.cursor),
    ["", "2"],
  );
  const pages = asked.filter((request) => request.conversationId === "11");
  assert.deepEqual(
    pages.map((request) => Number(request.position.value)),
    [0, 500, 1_000],
  );
});

test("entries pushed during the first sync are seen once, in order", async () => {
  const { logs, seen, lengths } = setUp({ 11: 3 });
  const syncing = logs.sync();
  logs.deliver([entry("11", 3), entry("11", 4)]);
  lengths[11] = 4;
  logs.deliver([entry("14", 1)]);
  lengths[14] = 1;
  await syncing;
  assert.deepEqual(
    seen.filter((one) => one.startsWith("11")),
    range("11", 1, 4),
  );
  assert.equal(seen.filter((one) => one === "14/1").length, 1);
});

test("entries pushed to this device count as new, even if another device received them first", async () => {
  const { logs, seen } = setUp({ 11: 9 }, { delivered: 9 });
  const syncing = logs.sync();
  logs.deliver([entry("11", 8)]);
  await syncing;
  assert.deepEqual(seen, ["11/8", "11/9"]);
});

test("a gap that closes by itself is not fetched", async () => {
  const { logs, seen, asked, clock } = setUp({ 11: 0 });
  await logs.sync();
  logs.deliver([entry("11", 2)]);
  clock.advance(199);
  logs.deliver([entry("11", 1)]);
  clock.advance(1_000);
  assert.deepEqual(seen, ["11/1", "11/2"]);
  assert.equal(asked.length, 0);
});

test("a gap that stays is fetched", async () => {
  const { logs, seen, clock, lengths, until, asked } = setUp({ 11: 1 });
  await logs.sync();
  lengths[11] = 4;
  logs.deliver([entry("11", 4)]);
  clock.advance(200);
  await until(4);
  assert.deepEqual(seen, range("11", 1, 4));
  assert.equal(asked.length, 1);
});

test("a lost last push is fetched after syncRequired", async () => {
  const { logs, seen, lengths, until } = setUp({ 11: 1 });
  await logs.sync();
  lengths[11] = 3;
  logs.syncRequired("11", 3n);
  await until(3);
  assert.deepEqual(seen, range("11", 1, 3));
});

test("an own send advances the log and is not emitted as a message", async () => {
  const { logs, seen } = setUp({ 11: 1 });
  await logs.sync();
  logs.sent(entry("11", 2));
  logs.deliver([entry("11", 2), entry("11", 3)]);
  assert.deepEqual(seen, ["11/1", "11/3"]);
});

test("duplicate entries are acknowledged again, because the server waits for it", async () => {
  const { logs, seen, arrived } = setUp({ 11: 2 });
  await logs.sync();
  arrived.clear();
  logs.deliver([entry("11", 1)]);
  assert.deepEqual(seen, range("11", 1, 2));
  assert.equal(arrived.get("11"), 2n);
});

test("a restart continues from the store, with new conversations from their start", async () => {
  const before = setUp({ 11: 3 }, { delivered: 3 });
  await before.logs.sync();
  const after = setUp({ 11: 3, 12: 2, 13: 5 }, { delivered: 5, store: before.store });
  after.logs.restore(await before.store.load());
  await after.logs.sync();
  assert.deepEqual(after.seen.sort(), [...range("12", 1, 2), ...range("13", 1, 5)]);
});

test("pushed entries of a conversation that the user may no longer see are dropped", async () => {
  const { logs, seen, clock, lengths, asked } = setUp({ 11: 1 });
  await logs.sync();
  logs.deliver([entry("11", 9)]);
  clock.advance(200);
  lengths[11] = 1;
  await logs.sync();
  assert.equal(asked.length, 1);
  logs.deliver([entry("11", 2)]);
  assert.deepEqual(seen, ["11/1", "11/2"]);
});
