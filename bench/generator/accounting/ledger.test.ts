import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import { readRefusal } from "../dialects/refusal.ts";
import { Ledger } from "./ledger.ts";

const window = { kind: "window", window: 16 } as const;
const rate = { kind: "rate", perSecond: 1_000, burst: 1 } as const;
const overloaded = { reason: ErrorReason.OVERLOADED, retryAfterMs: 700 };

/** Key of a message by its sender and number. */
const key = (user: number, number: number) => ({ timeUs: 0, user, number });

/** A ledger with that number of devices. */
function ledgerOf(devices: number, options: { shared: boolean } = { shared: false }): Ledger {
  const ledger = new Ledger(options);
  for (let index = 0; index < devices; index++) ledger.open(index);
  return ledger;
}

test("a message counts as delivered from the partner, and as a fault from any other sender", () => {
  const ledger = ledgerOf(4);
  assert.equal(ledger.delivered(1, key(0, 0), 1), true);
  assert.equal(ledger.delivered(1, key(2, 0), 2), false);
  assert.equal(ledger.delivered(1, key(1, 0), 3), false, "its own message");
  const { delivered, fromWrongSender } = ledger.counts;
  assert.deepEqual({ delivered, fromWrongSender }, { delivered: 1, fromWrongSender: 1 });
});

test("in a group every member may be the sender", () => {
  const ledger = ledgerOf(4, { shared: true });
  assert.equal(ledger.delivered(1, key(2, 0), 1), true);
  assert.equal(ledger.delivered(1, key(3, 1), 2), true);
  assert.equal(ledger.counts.fromWrongSender, 0);
});

test("in a group each out-of-order message of a sender counts once", () => {
  const ledger = ledgerOf(4, { shared: true });
  const log = [key(0, 1), key(3, 2), key(0, 0)];
  for (const index of [1, 2]) {
    for (const [at, one] of log.entries()) ledger.delivered(index, one, at + 1);
  }
  assert.equal(ledger.counts.delivered, 6);
  assert.equal(ledger.counts.late, 0);
  assert.equal(ledger.counts.overtaken, 1);
});

test("with a window, a refused message is retried after the delay of the refusal, and the others keep their order", () => {
  const ledger = ledgerOf(2);
  assert.equal(ledger.refused(key(0, 0), overloaded, window), 700);
  for (const [number, sequence] of [
    [2, 1],
    [0, 2],
    [1, 3],
  ] as const) {
    ledger.delivered(1, key(0, number), sequence);
  }
  assert.equal(ledger.counts.refused, 0);
  assert.deepEqual(ledger.counts.refusals, { OVERLOADED: 1 });
  assert.equal(
    ledger.counts.overtaken,
    1,
    "message 1 after message 2 counts, the retried message 0 does not",
  );
});

test("at a rate nothing is retried, and the order is checked in spite of refusals", () => {
  const ledger = ledgerOf(2);
  assert.equal(ledger.refused(key(0, 1), overloaded, rate), undefined);
  ledger.delivered(1, key(0, 2), 1);
  ledger.delivered(1, key(0, 0), 2);
  assert.equal(ledger.counts.refused, 1);
  assert.equal(ledger.counts.overtaken, 1);
});

test("a refusal for overload without a retry delay is counted", () => {
  const ledger = ledgerOf(2);
  const silent = { reason: ErrorReason.OVERLOADED, retryAfterMs: 0 };
  assert.equal(ledger.refused(key(0, 0), silent, window), 50);
  ledger.refused(key(0, 1), { reason: ErrorReason.INVALID_ARGUMENT, retryAfterMs: 0 }, window);
  assert.equal(ledger.counts.withoutRetryAfter, 1);
  assert.equal(ledger.counts.refused, 1);
});

test("a refusal is decoded: its reason and its retry delay", () => {
  const read = (error: { reason: ErrorReason; retryAfterMs?: bigint }) => {
    const outcome = { case: "refused", value: { error, text: "no" } } as const;
    const result: MessageInitShape<typeof SendResultSchema> = { clientMessageId: "m", outcome };
    return readRefusal(toBinary(SendResultSchema, create(SendResultSchema, result)));
  };
  const { OVERLOADED } = ErrorReason;
  assert.deepEqual(read({ reason: OVERLOADED, retryAfterMs: 700n }), overloaded);
  assert.deepEqual(read({ reason: OVERLOADED }), { reason: OVERLOADED, retryAfterMs: 0 });
});
