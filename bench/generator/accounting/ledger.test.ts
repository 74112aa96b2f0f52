import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import { readRefusal } from "../dialects/refusal.ts";
import { Account } from "./ledger.ts";

const window = { kind: "window", window: 16 } as const;
const rate = { kind: "rate", perSecond: 1_000, burst: 1 } as const;
const overloaded = { reason: ErrorReason.OVERLOADED, retryAfterMs: 700 };

/** The message of a user with that number. */
const key = (user: number, number: number) => ({ timeUs: 0, user, number });

/** An account of so many devices. */
function accountOf(devices: number, options: { shared: boolean } = { shared: false }): Account {
  const account = new Account(options);
  for (let index = 0; index < devices; index++) account.open(index);
  return account;
}

test("a message counts as delivered when it comes from the partner, and else as a stranger's", () => {
  const account = accountOf(4);
  assert.equal(account.delivered(1, key(0, 0), 1), true);
  assert.equal(account.delivered(1, key(2, 0), 2), false);
  assert.equal(account.delivered(1, key(1, 0), 3), false, "one's own");
  const { delivered, strangers } = account.counts;
  assert.deepEqual({ delivered, strangers }, { delivered: 1, strangers: 1 });
});

test("in a group nobody is a stranger", () => {
  const account = accountOf(4, { shared: true });
  assert.equal(account.delivered(1, key(2, 0), 1), true);
  assert.equal(account.delivered(1, key(3, 1), 2), true);
  assert.equal(account.counts.strangers, 0);
});

test("in a group the messages of each sender have an order, and it counts once", () => {
  const account = accountOf(4, { shared: true });
  const log = [key(0, 1), key(3, 2), key(0, 0)];
  for (const index of [1, 2]) {
    for (const [at, one] of log.entries()) account.delivered(index, one, at + 1);
  }
  assert.equal(account.counts.delivered, 6);
  assert.equal(account.counts.late, 0);
  assert.equal(account.counts.overtaken, 1);
});

test("with a window, what is refused comes again when the refusal says; the others keep their order", () => {
  const account = accountOf(2);
  assert.equal(account.refused(key(0, 0), overloaded, window), 700);
  for (const [number, sequence] of [
    [2, 1],
    [0, 2],
    [1, 3],
  ] as const) {
    account.delivered(1, key(0, number), sequence);
  }
  assert.equal(account.counts.refused, 0);
  assert.deepEqual(account.counts.refusals, { OVERLOADED: 1 });
  assert.equal(account.counts.overtaken, 1, "1 behind 2, but not 0");
});

test("at a rate nothing comes again, and the order holds in spite of refusals", () => {
  const account = accountOf(2);
  assert.equal(account.refused(key(0, 1), overloaded, rate), undefined);
  account.delivered(1, key(0, 2), 1);
  account.delivered(1, key(0, 0), 2);
  assert.equal(account.counts.refused, 1);
  assert.equal(account.counts.overtaken, 1);
});

test("a refusal for overload that does not say when to come again is counted", () => {
  const account = accountOf(2);
  const silent = { reason: ErrorReason.OVERLOADED, retryAfterMs: 0 };
  assert.equal(account.refused(key(0, 0), silent, window), 50);
  account.refused(key(0, 1), { reason: ErrorReason.INVALID_ARGUMENT, retryAfterMs: 0 }, window);
  assert.equal(account.counts.withoutRetryAfter, 1);
  assert.equal(account.counts.refused, 1);
});

test("a refusal is read: its reason, and when to come again", () => {
  const read = (error: { reason: ErrorReason; retryAfterMs?: bigint }) => {
    const outcome = { case: "refused", value: { error, text: "no" } } as const;
    const result: MessageInitShape<typeof SendResultSchema> = { clientMessageId: "m", outcome };
    return readRefusal(toBinary(SendResultSchema, create(SendResultSchema, result)));
  };
  const { OVERLOADED } = ErrorReason;
  assert.deepEqual(read({ reason: OVERLOADED, retryAfterMs: 700n }), overloaded);
  assert.deepEqual(read({ reason: OVERLOADED }), { reason: OVERLOADED, retryAfterMs: 0 });
});
