import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { ClientFrameSchema, WelcomeSchema } from "../../gen/lucky/frame/v1/frame_pb.js";
import {
  AcceptedSchema,
  type Entry,
  type SendRequest,
  SendResultSchema,
} from "../../gen/lucky/message/v1/message_pb.js";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { LuckyError } from "../error.ts";
import { Pace } from "../pace.ts";
import { MemoryStore } from "../store.ts";
import { Outbox } from "./outbox.ts";
import { sendRequest } from "./send-request.ts";

function setUp() {
  const clock = new ManualClock();
  const store = new MemoryStore();
  const frames: Uint8Array[] = [];
  const entries: Entry[] = [];
  let stuck = 0;
  const outbox = new Outbox({
    clock,
    store,
    write: (frame) => frames.push(frame),
    accepted: (entry) => entries.push(entry),
    settled: () => {},
    stuck: () => stuck++,
  });
  const sends = (): SendRequest[] =>
    frames.map((frame) => fromBinary(ClientFrameSchema, frame).kind.value as SendRequest);
  return {
    clock,
    store,
    outbox,
    frames,
    entries,
    stuck: () => stuck,
    keys: () => sends().map((send) => send.clientMessageId),
    send: (key: string, conversationId = "7") =>
      outbox.send(sendRequest({ conversationId }, `text of ${key}`, key)),
  };
}

const welcome = (values: MessageInitShape<typeof WelcomeSchema> = {}) =>
  create(WelcomeSchema, { maxSendsInFlight: 2, maxFrameBytes: 1_000, ...values });

const accepted = (clientMessageId: string, sequence: number) =>
  create(SendResultSchema, {
    clientMessageId,
    outcome: {
      case: "accepted",
      value: create(AcceptedSchema, { conversationId: "7", sequence: BigInt(sequence) }),
    },
  });

const refused = (clientMessageId: string, reason: ErrorReason, retryAfterMs = 0) =>
  create(SendResultSchema, {
    clientMessageId,
    outcome: {
      case: "refused",
      value: { error: { reason, retryAfterMs: BigInt(retryAfterMs) }, text: "no" },
    },
  });

test("sends wait for a session, then leave in order within the window", async () => {
  const { outbox, send, keys } = setUp();
  const results = ["a", "b", "c"].map((key) => send(key));
  assert.deepEqual(keys(), []);
  outbox.open(welcome(), undefined);
  assert.deepEqual(keys(), ["a", "b"]);
  outbox.result(accepted("a", 1));
  assert.deepEqual(keys(), ["a", "b", "c"]);
  outbox.result(accepted("b", 2));
  outbox.result(accepted("c", 3));
  const sequences = (await Promise.all(results)).map((one) => one.sequence);
  assert.deepEqual(sequences, [1n, 2n, 3n]);
});

test("a send without a result leaves again on the next session, with the same bytes and order", async () => {
  const { outbox, send, keys, frames } = setUp();
  const results = ["a", "b", "c"].map((key) => send(key));
  outbox.open(welcome(), undefined);
  outbox.lost();
  outbox.open(welcome(), undefined);
  assert.deepEqual(keys(), ["a", "b", "a", "b"]);
  assert.deepEqual(frames[2], frames[0]);
  for (const [n, key] of ["a", "b", "c"].entries()) outbox.result(accepted(key, n + 1));
  await Promise.all(results);
});

test("two sends with one key are never on the wire together", async () => {
  const { outbox, send, keys } = setUp();
  outbox.open(welcome(), undefined);
  const first = send("a");
  const second = send("a");
  assert.deepEqual(keys(), ["a"]);
  outbox.result(accepted("a", 1));
  assert.deepEqual(keys(), ["a", "a"]);
  outbox.result(accepted("a", 1));
  assert.equal((await first).sequence, (await second).sequence);
});

test("a refusal that lasts rejects with its reason", async () => {
  const { outbox, send } = setUp();
  outbox.open(welcome(), undefined);
  const result = send("a");
  outbox.result(refused("a", ErrorReason.MUTED));
  await assert.rejects(result, (error: LuckyError) => error.reason === ErrorReason.MUTED);
});

test("a refusal that passes is repeated after the pause that the server asked for", async () => {
  const { outbox, send, keys, clock } = setUp();
  outbox.open(welcome(), undefined);
  const result = send("a");
  outbox.result(refused("a", ErrorReason.OVERLOADED, 1_000));
  clock.advance(999);
  assert.deepEqual(keys(), ["a"]);
  clock.advance(1);
  assert.deepEqual(keys(), ["a", "a"]);
  outbox.result(accepted("a", 1));
  await result;
});

test("sends to a target wait for the one before that is repeated; others pass", () => {
  const { outbox, send, keys, clock } = setUp();
  outbox.open(welcome({ maxSendsInFlight: 1 }), undefined);
  void send("a");
  void send("b");
  void send("c", "8");
  outbox.result(refused("a", ErrorReason.UNAVAILABLE, 1_000));
  assert.deepEqual(keys(), ["a", "c"]);
  outbox.result(accepted("c", 1));
  clock.advance(1_000);
  assert.deepEqual(keys(), ["a", "c", "a"]);
  outbox.result(accepted("a", 1));
  assert.deepEqual(keys(), ["a", "c", "a", "b"]);
});

test("a send is given up after ten tries, its outcome unknown", async () => {
  const { outbox, send, keys, store } = setUp();
  const result = send("a");
  for (let session = 0; session < 10; session++) {
    outbox.open(welcome(), undefined);
    outbox.lost();
  }
  await assert.rejects(result, (error: LuckyError) => error.reason === ErrorReason.UNAVAILABLE);
  assert.equal(keys().length, 10);
  assert.deepEqual((await store.load()).sends, []);
});

test("a message larger than a frame may be is refused here, and closes no session", async () => {
  const { outbox, frames } = setUp();
  outbox.open(welcome(), undefined);
  const result = outbox.send(sendRequest({ userId: "1" }, "x".repeat(2_000), "a"));
  await assert.rejects(result, (error: LuckyError) => {
    return error.reason === ErrorReason.INVALID_ARGUMENT;
  });
  assert.equal(frames.length, 0);
});

test("sends keep the pace of the session", () => {
  const { outbox, send, keys, clock } = setUp();
  const pace = new Pace(clock, { perSecond: 10, burst: 2 });
  outbox.open(welcome({ maxSendsInFlight: 100 }), pace);
  for (let n = 0; n < 8; n++) void send(`k${n}`);
  assert.equal(keys().length, 2);
  clock.advance(600);
  assert.equal(keys().length, 8);
});

test("a server that stops answering sends is noticed", () => {
  const { outbox, send, clock, stuck } = setUp();
  outbox.open(welcome(), undefined);
  void send("a");
  clock.advance(20_000);
  void send("b");
  outbox.result(accepted("a", 1));
  clock.advance(29_999);
  assert.equal(stuck(), 0);
  clock.advance(1);
  assert.equal(stuck(), 1);
});

test("an entry is recognised as an own send until its result, by key and content", () => {
  const { outbox, send, entries } = setUp();
  outbox.open(welcome(), undefined);
  void send("a");
  outbox.result(accepted("a", 1));
  const entry = entries[0]!;
  assert.equal(outbox.isOwn(entry), false);
  void send("a");
  assert.equal(outbox.isOwn(entry), true);
  assert.equal(outbox.isOwn({ ...entry, conversationId: "8" }), false);
});

test("sends of an earlier run leave when a session opens", async () => {
  const earlier = setUp();
  void earlier.send("a");
  const later = setUp();
  later.outbox.restore((await earlier.store.load()).sends);
  later.outbox.open(welcome(), undefined);
  assert.deepEqual(later.keys(), ["a"]);
});

test("closing rejects what waits and forgets it", async () => {
  const { outbox, send, store } = setUp();
  outbox.open(welcome({ maxSendsInFlight: 1 }), undefined);
  const results = [send("a"), send("b")];
  outbox.close(new LuckyError(ErrorReason.UNAVAILABLE, "closed"));
  for (const result of results) await assert.rejects(result, /closed/);
  assert.deepEqual((await store.load()).sends, []);
});
