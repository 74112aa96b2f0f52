import type { Counts } from "../generator/accounting/ledger.ts";
import type { LogCounts } from "../system/log-counts.ts";

/** Counts of a run, after the wait for the last deliveries. */
export interface Outcome {
  readonly counts: Counts;
  /** Deliveries of messages that were due during the measurement. */
  readonly measured: number;
  /** Devices that should receive each message. */
  readonly receivers: number;
  /** Whether the server promises to keep the order of one sender's messages. */
  readonly ordered: boolean;
  /** Number of cursors that did not reach the last entry. */
  readonly behind: number;
  readonly storedBefore: LogCounts | undefined;
  readonly stored: LogCounts | undefined;
}

/** Differences between the counts. */
export function totalsOf({ counts, receivers, ordered }: Outcome) {
  return {
    lost: Math.max(0, counts.accepted * receivers - counts.delivered),
    unanswered: counts.sent - counts.accepted - counts.refused,
    outOfOrder: ordered ? counts.late + counts.overtaken : 0,
  };
}

/** Reasons of refusals that clients retry: they are not faults of the server. */
const RETRYABLE = /^(OVERLOADED|UNAVAILABLE|RATE_LIMITED)$/;

/** Faults of a run, one sentence each; empty for an exact account. */
export function findFaults(outcome: Outcome): string[] {
  const { counts, measured, behind, storedBefore, stored } = outcome;
  const { lost, unanswered, outOfOrder } = totalsOf(outcome);
  const faults: string[] = [];
  if (counts.accepted === 0) faults.push("no message was accepted");
  else if (measured === 0)
    faults.push("no message that was due during the measurement was delivered");
  if (unanswered !== 0) faults.push(`${unanswered} sends were not answered`);
  if (lost > 0) faults.push(`${lost} accepted messages were not delivered`);
  if (behind > 0) faults.push(`${behind} acknowledgements did not reach the database`);
  if (counts.duplicated > 0) faults.push(`${counts.duplicated} messages are stored twice`);
  if (counts.fromWrongSender > 0)
    faults.push(`${counts.fromWrongSender} deliveries came from a wrong sender`);
  if (outOfOrder > 0) faults.push(`${outOfOrder} deliveries were out of order`);
  for (const [reason, count] of Object.entries(counts.refusals)) {
    if (!RETRYABLE.test(reason)) faults.push(`${count} sends were refused with ${reason}`);
  }
  if (counts.withoutRetryAfter > 0) {
    faults.push(`${counts.withoutRetryAfter} refusals gave no delay for a retry`);
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
      faults.push(`${stored.rows} rows, but the sum of the sequences is ${stored.sequences}`);
    }
    if (stored.outbox > 0) faults.push(`${stored.outbox} rows are left in the outbox`);
  }
  return faults;
}
