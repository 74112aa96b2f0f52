import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import {
  ClientFrameSchema,
  type LimitsSchema,
  WelcomeSchema,
} from "../../gen/lucky/frame/v1/frame_pb.js";
import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import {
  AcceptedSchema,
  type SendRequest,
  SendResultSchema,
} from "../../gen/lucky/message/v1/message_pb.js";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { LuckyError } from "../error.ts";
import { RateLimit } from "../rate-limit.ts";
import { MemoryStore } from "../store.ts";
import { SendQueue } from "./send-queue.ts";
import { sendRequest } from "./send-request.ts";

function setUp() {
  const clock = new ManualClock();
  const store = new MemoryStore();
  const frames: Uint8Array[] = [];
  const entries: Entry[] = [];
  let timeouts = 0;
  const queue = new SendQueue({
    clock,
    store,
    write: (frame) => frames.push(frame),
    accepted: (entry) => entries.push(entry),
    settled: () => {},
    resultTimedOut: () => timeouts++,
  });
  const sends = (): SendRequest[] =>
    frames.map((frame) => fromBinary(ClientFrameSchema, frame).kind.value as SendRequest);
  return {
    clock,
    store,
    queue,
    frames,
    entries,
    timeouts: () => timeouts,
    keys: () => sends().map((send) => send.clientMessageId),
    send: (key: string, conversationId = "7") =>
      queue.send(sendRequest({ conversationId }, `text of ${key}`, { clientMessageId: key })),
  };
}

const welcome = (limits: MessageInitShape<typeof LimitsSchema> = {}) =>
  create(WelcomeSchema, { limits: { maxSendsInFlight: 2, maxClientFrameBytes: 1_000, ...limits } });

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

test("sends wait for a session, then are sent in order within the window", async () => {
  const { queue, send, keys } = setUp();
  const results = ["a", "b", "c"].map((key) => send(key));
  assert.deepEqual(keys(), []);
  queue.open(welcome(), undefined);
  assert.deepEqual(keys(), ["a", "b"]);
  queue.result(accepted("a", 1));
  assert.deepEqual(keys(), ["a", "b", "c"]);
  queue.result(accepted("b", 2));
  queue.result(accepted("c", 3));
  const sequences = (await Promise.all(results)).map((one) => one.sequence);
  assert.deepEqual(sequences, [1n, 2n, 3n]);
});

test("a send without a result is retried on the next session, with the same bytes and order", async () => {
  const { queue, send, keys, frames } = setUp();
  const results = ["a", "b", "c"].map((key) => send(key));
  queue.open(welcome(), undefined);
  queue.lost();
  queue.open(welcome(), undefined);
  assert.deepEqual(keys(), ["a", "b", "a", "b"]);
  assert.deepEqual(frames[2], frames[0]);
  for (const [n, key] of ["a", "b", "c"].entries()) queue.result(accepted(key, n + 1));
  await Promise.all(results);
});

test("a send and its retry carry the application's trace, and the next send does not", async () => {
  const { queue, frames } = setUp();
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const sends = [
    queue.send(sendRequest({ conversationId: "7" }, "traced", { clientMessageId: "a" }), {
      traceparent,
    }),
    queue.send(sendRequest({ conversationId: "7" }, "not traced", { clientMessageId: "b" })),
  ];
  for (let session = 0; session < 2; session++) {
    queue.open(welcome(), undefined);
    queue.lost();
  }
  const traces = frames.map((frame) => fromBinary(ClientFrameSchema, frame).traceparent);
  assert.deepEqual(traces, [traceparent, "", traceparent, ""]);
  queue.close(new LuckyError(ErrorReason.UNAVAILABLE, "closed"), { keep: false });
  await Promise.allSettled(sends);
});

test("two sends with one client_message_id are never in flight together", async () => {
  const { queue, send, keys } = setUp();
  queue.open(welcome(), undefined);
  const first = send("a");
  const second = send("a");
  assert.deepEqual(keys(), ["a"]);
  queue.result(accepted("a", 1));
  assert.deepEqual(keys(), ["a", "a"]);
  queue.result(accepted("a", 1));
  assert.equal((await first).sequence, (await second).sequence);
});

test("a permanent refusal rejects with its reason", async () => {
  const { queue, send } = setUp();
  queue.open(welcome(), undefined);
  const result = send("a");
  queue.result(refused("a", ErrorReason.MUTED));
  await assert.rejects(result, (error: LuckyError) => error.reason === ErrorReason.MUTED);
});

test("a retryable refusal is retried after the delay that the server named", async () => {
  const { queue, send, keys, clock } = setUp();
  queue.open(welcome(), undefined);
  const result = send("a");
  queue.result(refused("a", ErrorReason.OVERLOADED, 1_000));
  clock.advance(999);
  assert.deepEqual(keys(), ["a"]);
  clock.advance(1);
  assert.deepEqual(keys(), ["a", "a"]);
  queue.result(accepted("a", 1));
  await result;
});

test("a refusal with a reason of a later server is retried when it names a delay, else it is final", async () => {
  const { queue, send, keys, clock } = setUp();
  const later = 999 as ErrorReason;
  queue.open(welcome(), undefined);
  const result = send("a");
  queue.result(refused("a", later, 1_000));
  clock.advance(1_000);
  assert.deepEqual(keys(), ["a", "a"]);
  queue.result(refused("a", later));
  await assert.rejects(result, (error: LuckyError) => error.reason === later);
});

test("sends to a target wait for the retry before them; other targets do not", () => {
  const { queue, send, keys, clock } = setUp();
  queue.open(welcome({ maxSendsInFlight: 1 }), undefined);
  void send("a");
  void send("b");
  void send("c", "8");
  queue.result(refused("a", ErrorReason.UNAVAILABLE, 1_000));
  assert.deepEqual(keys(), ["a", "c"]);
  queue.result(accepted("c", 1));
  clock.advance(1_000);
  assert.deepEqual(keys(), ["a", "c", "a"]);
  queue.result(accepted("a", 1));
  assert.deepEqual(keys(), ["a", "c", "a", "b"]);
});

test("a send fails after ten attempts, its outcome unknown", async () => {
  const { queue, send, keys, store } = setUp();
  const result = send("a");
  for (let session = 0; session < 10; session++) {
    queue.open(welcome(), undefined);
    queue.lost();
  }
  await assert.rejects(result, (error: LuckyError) => error.reason === ErrorReason.UNAVAILABLE);
  assert.equal(keys().length, 10);
  assert.deepEqual((await store.load()).sends, []);
});

test("a message larger than a frame is refused by the client, and closes no session", async () => {
  const { queue, frames } = setUp();
  queue.open(welcome(), undefined);
  const result = queue.send(
    sendRequest({ userId: "1" }, "x".repeat(2_000), { clientMessageId: "a" }),
  );
  await assert.rejects(result, (error: LuckyError) => {
    return error.reason === ErrorReason.INVALID_ARGUMENT;
  });
  assert.equal(frames.length, 0);
});

test("a content above the server's limit is refused by the client", async () => {
  const { queue, frames } = setUp();
  queue.open(welcome({ maxClientFrameBytes: 10_000, maxContentBytes: 1_000 }), undefined);
  const result = queue.send(
    sendRequest({ userId: "1" }, "x".repeat(2_000), { clientMessageId: "a" }),
  );
  await assert.rejects(result, (error: LuckyError) => {
    return error.reason === ErrorReason.INVALID_ARGUMENT && error.field === "content";
  });
  assert.equal(frames.length, 0);
});

test("sends keep within the rate limit of the session", () => {
  const { queue, send, keys, clock } = setUp();
  const rateLimit = new RateLimit(clock, { perSecond: 10, burst: 2 });
  queue.open(welcome({ maxSendsInFlight: 100 }), rateLimit);
  for (let n = 0; n < 8; n++) void send(`k${n}`);
  assert.equal(keys().length, 2);
  clock.advance(600);
  assert.equal(keys().length, 8);
});

test("a send without a result times out", () => {
  const { queue, send, clock, timeouts } = setUp();
  queue.open(welcome(), undefined);
  void send("a");
  clock.advance(20_000);
  void send("b");
  queue.result(accepted("a", 1));
  clock.advance(29_999);
  assert.equal(timeouts(), 0);
  clock.advance(1);
  assert.equal(timeouts(), 1);
});

test("an entry is recognised as an own send until its result, by client_message_id and content", () => {
  const { queue, send, entries } = setUp();
  queue.open(welcome(), undefined);
  void send("a");
  queue.result(accepted("a", 1));
  const entry = entries[0]!;
  assert.equal(queue.isOwn(entry), false);
  void send("a");
  assert.equal(queue.isOwn(entry), true);
  assert.equal(queue.isOwn({ ...entry, conversationId: "8" }), false);
});

test("sends of an earlier run are sent when a session opens", async () => {
  const earlier = setUp();
  void earlier.send("a");
  const later = setUp();
  later.queue.restore((await earlier.store.load()).sends);
  later.queue.open(welcome(), undefined);
  assert.deepEqual(later.keys(), ["a"]);
});

test("closing rejects queued sends and removes them from the store", async () => {
  const { queue, send, store } = setUp();
  queue.open(welcome({ maxSendsInFlight: 1 }), undefined);
  const results = [send("a"), send("b")];
  queue.close(new LuckyError(ErrorReason.UNAVAILABLE, "closed"), { keep: false });
  for (const result of results) await assert.rejects(result, /closed/);
  assert.deepEqual((await store.load()).sends, []);
});

test("closing with a store rejects queued sends, and the next run sends them", async () => {
  const { queue, send, store } = setUp();
  queue.open(welcome({ maxSendsInFlight: 1 }), undefined);
  const results = [send("a"), send("b")];
  queue.close(new LuckyError(ErrorReason.UNAVAILABLE, "closed"), { keep: true });
  for (const result of results)
    await assert.rejects(result, /closed; the message stays in the store/);
  const later = setUp();
  later.queue.restore((await store.load()).sends);
  later.queue.open(welcome(), undefined);
  assert.deepEqual(later.keys(), ["a", "b"]);
});
