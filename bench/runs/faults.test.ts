import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { exitCodeOf } from "../command/report.ts";
import { Ledger } from "../generator/accounting/ledger.ts";
import { findFaults, type Outcome, totalsOf } from "./faults.ts";

const empty = { rows: 0, sequences: 0, outbox: 0 };

/**
 * The outcome of three messages of user 0, all accepted and stored. User 1 received `deliveries`, each
 * [user, number, sequence].
 */
function outcomeOf(
  deliveries: readonly (readonly [user: number, number: number, sequence: number])[],
  other: Partial<Outcome> = {},
): Outcome {
  const ledger = new Ledger({ shared: false });
  for (const index of [0, 1, 2, 3]) ledger.open(index);
  for (const [user, number, sequence] of deliveries) {
    ledger.delivered(1, { timeUs: 0, user, number }, sequence);
  }
  const { counts } = ledger;
  counts.sent = 3;
  counts.accepted = 3;
  return {
    counts,
    measured: deliveries.length,
    receivers: 1,
    ordered: true,
    behind: 0,
    storedBefore: empty,
    stored: { rows: 3, sequences: 3, outbox: 0 },
    ...other,
  };
}

const EXACT = [
  [0, 0, 1],
  [0, 1, 2],
  [0, 2, 3],
] as const;

/** Faults of an outcome; also checks that its exit code is 1. */
function faultsIn(outcome: Outcome): string[] {
  const faults = findFaults(outcome);
  assert.equal(exitCodeOf({ figures: {}, faults, limitedBy: "a limit" }), 1);
  return faults;
}

test("an exact account has no fault; the exit code is 0, or 2 when the generator was the bottleneck", () => {
  const faults = findFaults(outcomeOf(EXACT));
  assert.deepEqual(faults, []);
  assert.equal(exitCodeOf({ figures: {}, faults, limitedBy: undefined }), 0);
  assert.equal(exitCodeOf({ figures: {}, faults, limitedBy: "a limit" }), 2);
});

test("a measurement without deliveries is a fault", () => {
  assert.deepEqual(faultsIn(outcomeOf(EXACT, { measured: 0 })), [
    "no message that was due during the measurement was delivered",
  ]);
});

test("a lost message is a fault", () => {
  const outcome = outcomeOf(EXACT.slice(0, 2));
  assert.equal(totalsOf(outcome).lost, 1);
  assert.deepEqual(faultsIn(outcome), ["1 accepted messages were not delivered"]);
});

test("a message from a wrong sender is a fault, and does not replace a lost message", () => {
  assert.deepEqual(faultsIn(outcomeOf([...EXACT.slice(0, 2), [2, 2, 3]])), [
    "1 accepted messages were not delivered",
    "1 deliveries came from a wrong sender",
  ]);
});

test("a duplicate in the log is a fault, at its receiver and in the database", () => {
  const stored = { rows: 4, sequences: 4, outbox: 0 };
  assert.deepEqual(faultsIn(outcomeOf([...EXACT, [0, 2, 4]], { stored })), [
    "1 messages are stored twice",
    "3 were accepted and 4 stored",
  ]);
});

test("a redelivery is not a fault", () => {
  assert.deepEqual(findFaults(outcomeOf([...EXACT, [0, 2, 3]])), []);
});

test("a wrong order in the log is a fault, even after refusals", () => {
  const swapped = [
    [0, 0, 1],
    [0, 2, 2],
    [0, 1, 3],
  ] as const;
  const outcome = outcomeOf(swapped);
  outcome.counts.refusals.OVERLOADED = 1;
  assert.deepEqual(faultsIn(outcome), ["1 deliveries were out of order"]);
  assert.deepEqual(findFaults({ ...outcome, ordered: false }), []);
});

test("a delivery after a later entry of the log is a fault", () => {
  const late = [EXACT[0], EXACT[2], EXACT[1]];
  assert.deepEqual(faultsIn(outcomeOf(late)), ["1 deliveries were out of order"]);
});

test("a refusal is a fault when it cannot be retried, or has no retry delay", () => {
  const ledger = new Ledger({ shared: false });
  const key = { timeUs: 0, user: 0, number: 0 };
  ledger.refused(key, { reason: ErrorReason.OVERLOADED, retryAfterMs: 0 }, undefined);
  ledger.refused(key, { reason: ErrorReason.OVERLOADED, retryAfterMs: 5 }, undefined);
  ledger.refused(key, { reason: ErrorReason.NOT_A_MEMBER, retryAfterMs: 0 }, undefined);
  ledger.counts.sent = 3;
  assert.deepEqual(faultsIn({ ...outcomeOf([]), counts: ledger.counts, stored: empty }), [
    "no message was accepted",
    "1 sends were refused with NOT_A_MEMBER",
    "1 refusals gave no delay for a retry",
  ]);
});

test("a remaining outbox row, a missing answer and an ended session are faults", () => {
  const stored = { rows: 3, sequences: 4, outbox: 2 };
  const outcome = outcomeOf(EXACT, { behind: 1, stored });
  outcome.counts.sent = 4;
  outcome.counts.ended["4001 gone"] = 1;
  assert.deepEqual(faultsIn(outcome), [
    "1 sends were not answered",
    "1 acknowledgements did not reach the database",
    "1 sessions ended with 4001 gone",
    "3 rows, but the sum of the sequences is 4",
    "2 rows are left in the outbox",
  ]);
});
