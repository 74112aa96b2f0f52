import assert from "node:assert/strict";
import { test } from "node:test";
import { entry, range, setUp } from "./log-server.fixture.ts";

test("the first live entry of an unknown conversation is shown at once, and the conversation is looked up", async () => {
  const { logs, seen, named, lengths, until, synced, asked, lookedUp } = setUp({ 11: 1 });
  await logs.sync();
  lengths[12] = 1;
  logs.deliver([entry("12", 1)]);
  assert.deepEqual(seen, ["11/1", "12/1"]);
  await until(2, named);
  assert.deepEqual(named, ["11", "12"]);
  assert.deepEqual(lookedUp, ["12"]);
  assert.equal(synced.length, 1);
  assert.equal(asked.length, 0);
});

test("a group that the user joined late begins at its first visible entry, without a fetch", async () => {
  const { logs, seen, lengths, until, asked } = setUp({}, { first: 500 });
  await logs.sync();
  lengths[12] = 501;
  logs.deliver([entry("12", 500), entry("12", 501)]);
  await until(2);
  assert.deepEqual(seen, range("12", 500, 501));
  assert.equal(asked.length, 0);
});

test("many unknown conversations at a time are fetched by one sync", async () => {
  const { logs, seen, lengths, named, until, synced, lookedUp } = setUp({});
  await logs.sync();
  for (let id = 12; id < 32; id++) lengths[id] = 1;
  logs.deliver(Object.keys(lengths).map((id) => entry(id, 1)));
  await until(24, named);
  assert.equal(seen.length, 20);
  assert.equal(lookedUp.length, 4);
  // The first sync, and one of ten pages.
  assert.equal(synced.length, 11);
});

test("a server without look-ups is asked for a sync instead", async () => {
  const { logs, seen, lengths, until } = setUp({ 11: 1 }, { withoutLookUp: true });
  await logs.sync();
  lengths[12] = 2;
  logs.deliver([entry("12", 2)]);
  await until(3);
  assert.deepEqual(seen, [...range("11", 1, 1), ...range("12", 1, 2)]);
});

test("a log of another epoch is discarded and fetched from its beginning, once", async () => {
  const before = setUp({ 11: 4, 12: 2 });
  await before.logs.sync();
  // A backup of two messages less was restored, and one message sent since.
  const { logs, seen, server, lengths, store } = setUp({ 11: 3, 12: 2 }, { store: before.store });
  server.epoch = 2n;
  const stored = await before.store.load();
  logs.restore({ ...stored, cursor: "" });
  await logs.sync();
  const resets = ["11 reset", "12 reset", ...range("11", 1, 3), ...range("12", 1, 2)];
  assert.deepEqual(seen.toSorted(), resets.toSorted());
  assert.ok(seen.indexOf("11 reset") < seen.indexOf("11/1"));
  const { positions } = await store.load();
  assert.deepEqual(positions.get("11"), { sequence: 3n, epoch: 2n });
  lengths[11] = 4;
  logs.deliver([entry("11", 4)]);
  assert.equal(seen.at(-1), "11/4");
});

test("a page of ListEntries in another epoch is discarded with the log", async () => {
  const { logs, seen, server, lengths, clock, until } = setUp({ 11: 3 });
  await logs.sync();
  server.epoch = 2n;
  lengths[11] = 5;
  logs.deliver([entry("11", 5)]);
  clock.advance(200);
  await until(9);
  assert.deepEqual(seen, [...range("11", 1, 3), "11 reset", ...range("11", 1, 5)]);
  assert.equal(logs.epoch("11"), 2n);
});

test("a server without epochs resets no log", async () => {
  const { logs, seen, server, lengths, clock, until } = setUp({ 11: 3 });
  await logs.sync();
  server.epoch = 0n;
  lengths[11] = 5;
  logs.syncRequired("11", 5n);
  clock.advance(200);
  await until(5);
  assert.deepEqual(seen, range("11", 1, 5));
});
