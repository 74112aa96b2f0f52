import type { Counts } from "../generator/accounting/ledger.ts";
import type { LogCounts } from "../system/log-counts.ts";

/** How a run ended, when all had its time to arrive. */
export interface Outcome {
  readonly counts: Counts;
  /** Deliveries of what was due while it measured. */
  readonly measured: number;
  /** Devices that should get each message. */
  readonly receivers: number;
  /** Whether the server promises that what a sender sends one after the other stays in order. */
  readonly ordered: boolean;
  /** Cursors that should be farther. */
  readonly behind: number;
  readonly storedBefore: LogCounts | undefined;
  readonly stored: LogCounts | undefined;
}

/** What does not add up in the counts. */
export function totalsOf({ counts, receivers, ordered }: Outcome) {
  return {
    lost: Math.max(0, counts.accepted * receivers - counts.delivered),
    unanswered: counts.sent - counts.accepted - counts.refused,
    outOfOrder: ordered ? counts.late + counts.overtaken : 0,
  };
}

/** Reasons that say "not now": not a fault, though not a success. */
const RETRYABLE = /^(OVERLOADED|UNAVAILABLE|RATE_LIMITED)$/;

/** What is off, each in a sentence; empty for an exact account. */
export function findFaults(outcome: Outcome): string[] {
  const { counts, measured, behind, storedBefore, stored } = outcome;
  const { lost, unanswered, outOfOrder } = totalsOf(outcome);
  const faults: string[] = [];
  if (counts.accepted === 0) faults.push("nothing was accepted");
  else if (measured === 0) faults.push("nothing was delivered of what was due while it measured");
  if (unanswered !== 0) faults.push(`${unanswered} sends were not answered`);
  if (lost > 0) faults.push(`${lost} accepted messages were not delivered`);
  if (behind > 0) faults.push(`${behind} acknowledgements did not reach the database`);
  if (counts.duplicated > 0) faults.push(`${counts.duplicated} messages stand twice in the log`);
  if (counts.fromWrongSender > 0)
    faults.push(`${counts.fromWrongSender} deliveries came from a stranger`);
  if (outOfOrder > 0) faults.push(`${outOfOrder} deliveries were out of order`);
  for (const [reason, count] of Object.entries(counts.refusals)) {
    if (!RETRYABLE.test(reason)) faults.push(`${count} sends were refused with ${reason}`);
  }
  if (counts.withoutRetryAfter > 0) {
    faults.push(`${counts.withoutRetryAfter} refusals did not say when to come again`);
  }
  for (const [end, count] of Object.entries(counts.ended)) {
    faults.push(`${count} sessions ended with ${end}`);
  }
  if (stored && storedBefore) {
    const rows = stored.rows - storedBefore.rows;
    if (rows !== counts.accepted) {
      faults.push(`${counts.accepted} were accepted and ${rows} stored`);
    }
    if (stored.sequences !== stored.rows) {
      faults.push(`${stored.rows} rows, but the sequences sum up to ${stored.sequences}`);
    }
    if (stored.outbox > 0) faults.push(`${stored.outbox} rows are left in the outbox`);
  }
  return faults;
}
