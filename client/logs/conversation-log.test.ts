import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { EntrySchema } from "../../gen/lucky/message/v1/entry_pb.js";
import { ConversationLog, type Released } from "./conversation-log.ts";

const entry = (sequence: number) => create(EntrySchema, { sequence: BigInt(sequence) });
const sequences = (released: readonly Released[]) =>
  released.map((one) => Number(one.entry.sequence));
const foreign = () => false;

test("entries are released in order, whatever order they arrived in", () => {
  const log = new ConversationLog(0n);
  assert.deepEqual(sequences(log.offer(entry(3), false)), []);
  assert.deepEqual(sequences(log.offer(entry(1), false)), [1]);
  assert.deepEqual(sequences(log.offer(entry(2), false)), [2, 3]);
  assert.equal(log.behind, false);
});

test("a duplicate entry is released once", () => {
  const log = new ConversationLog(0n);
  log.offer(entry(1), false);
  log.offer(entry(3), false);
  assert.deepEqual(sequences(log.offer(entry(1), false)), []);
  assert.deepEqual(sequences(log.offer(entry(3), false)), []);
  assert.deepEqual(sequences(log.offer(entry(2), false)), [2, 3]);
});

test("no entry is released before the log begins, then the buffered ones after its beginning", () => {
  const log = new ConversationLog();
  for (const sequence of [4, 6, 7]) log.offer(entry(sequence), false);
  assert.equal(log.lowestBuffered, 4n);
  assert.equal(log.behind, false);
  assert.deepEqual(sequences(log.begin(5n)), [6, 7]);
  assert.equal(log.last, 7n);
});

test("an own send is still an own send when the server echoes it", () => {
  const log = new ConversationLog(0n);
  log.offer(entry(2), true);
  log.offer(entry(2), false);
  assert.deepEqual(
    log.offer(entry(1), false).map(({ own }) => own),
    [false, true],
  );
});

test("a page that starts later than expected is no gap", () => {
  const log = new ConversationLog(3n);
  log.offer(entry(10), false);
  assert.equal(log.behind, true);
  assert.deepEqual(sequences(log.offerPage([entry(9), entry(10)], foreign)), [9, 10]);
  assert.equal(log.behind, false);
});

test("the log stops waiting for entries that the server does not have", () => {
  const log = new ConversationLog(3n);
  log.offer(entry(10), false);
  log.end();
  assert.equal(log.behind, false);
  assert.deepEqual(sequences(log.offer(entry(4), false)), [4]);
});

test("a gap buffers a bounded number of entries and keeps the greatest known sequence", () => {
  const log = new ConversationLog(0n);
  for (let sequence = 2; sequence <= 3_000; sequence++) log.offer(entry(sequence), false);
  const released = log.offer(entry(1), false);
  assert.equal(released.length, 1_001);
  assert.equal(log.known, 3_000n);
  assert.equal(log.behind, true);
});
