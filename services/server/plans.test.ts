import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../test/backends/postgres.ts";
import { selectConversation, selectDirect } from "./catch-up/conversation-service.ts";
import { selectDeleted } from "./catch-up/deleted-edits.ts";
import {
  selectAfter,
  selectBefore,
  selectEntryRanges,
  selectReceipts,
} from "./catch-up/history.ts";
import { deleteNews, markNews, selectNews, selectUnconfirmed } from "./catch-up/news-rows.ts";
import { changesByUser, selectSweep, selectVisibleEnds } from "./catch-up/sweep.ts";
import { selectChanged } from "./catch-up/sync.ts";
import { groupsByUser, selectGroups } from "./catch-up/user-groups.ts";
import { SELECT_BODIES, SELECT_LAST_EDITS, WRITE_BODIES } from "./changes/bodies.ts";
import { LOCK_CONVERSATION } from "./changes/change.ts";
import { hideEntries } from "./changes/deletions.ts";
import {
  DELETE_MENTIONS,
  INSERT_MENTIONS,
  INSERT_REVISION,
  SELECT_KEY,
  SELECT_MENTIONED,
} from "./changes/edits.ts";
import { WRITE_STATES } from "./changes/message-states.ts";
import { COUNT_PINS } from "./changes/pins.ts";
import { DELETE_OWN, INSERT_OWN, SELECT_OWN, SELECT_RECENT } from "./changes/reaction-batch.ts";
import { DELETE_REACTIONS, EMPTY_REVISIONS, INSERT_WITHDRAWN } from "./changes/recalls.ts";
import { SELECT_TARGETS, SELECT_VIEWS } from "./changes/targets.ts";
import { selectMemberships } from "./conversations/conversations.ts";
import { insertDirects, selectDirects } from "./conversations/directs.ts";
import {
  abandonOutbox,
  claimOutbox,
  countOutbox,
  hastenOutbox,
  releaseOutbox,
  selectRanges,
} from "./delivery/compensation.ts";
import { deleteOutbox, replayOutbox } from "./delivery/outbox.ts";
import { countGroups, selectGroup, selectGroupByKey } from "./groups/group-rows.ts";
import { selectMembers, selectMembersAmong } from "./groups/groups.ts";
import {
  selectChangedMessages,
  selectMessagesAfter,
  selectMessagesAt,
  selectMessagesBefore,
  selectPins,
  selectReactions,
  selectReactionsOf,
  selectRevisions,
  selectSequenceAt,
  selectTarget,
} from "./history/message-rows.ts";
import { selectPlacement } from "./log/placements.ts";
import { insertDeadLetters, selectDeadLetters } from "./operations/dead-letters.ts";
import { selectFailed } from "./operations/failed-batches.ts";
import {
  selectTraced,
  selectTracedBatch,
  selectTracedMembers,
  selectTracedNews,
} from "./operations/message-trace.ts";
import { appendEntries, appendMentions } from "./sending/append.ts";
import { selectDuplicates, selectOwnDuplicates } from "./sending/duplicates.ts";
import { selectOriginals } from "./sending/originals.ts";
import { selectReplyTargets } from "./sending/replies.ts";
import { updateCursors } from "./signals/receipts.ts";

const { pool } = await startTestPostgres({ after });

const statements = [
  updateCursors,
  appendEntries,
  appendMentions,
  countOutbox,
  hastenOutbox,
  deleteOutbox,
  releaseOutbox,
  abandonOutbox,
  hideEntries,
  insertDirects,
  replayOutbox,
  selectAfter,
  selectBefore,
  selectChanged,
  selectConversation,
  selectDeleted,
  selectDirect,
  selectDirects,
  selectEntryRanges,
  selectGroup,
  selectGroups,
  groupsByUser.withBuckets,
  selectDuplicates,
  selectOriginals,
  selectOwnDuplicates,
  selectReplyTargets,
  selectGroupByKey,
  selectMembers,
  selectMembersAmong,
  selectPlacement,
  countGroups,
  selectMemberships,
  selectRanges,
  selectReceipts,
  selectSweep,
  changesByUser.withBuckets,
  selectNews,
  selectUnconfirmed,
  selectVisibleEnds,
  deleteNews,
  markNews,
  claimOutbox,
  insertDeadLetters,
  selectDeadLetters,
  selectFailed,
  selectTraced,
  selectTracedBatch,
  selectTracedMembers,
  selectTracedNews,
  selectChangedMessages,
  selectMessagesAfter,
  selectMessagesAt,
  selectMessagesBefore,
  selectPins,
  selectReactions,
  selectReactionsOf,
  selectRevisions,
  selectSequenceAt,
  selectTarget,
];

/** Statements of transactions that have locked the conversation. */
const ofTransactions = Object.entries({
  LOCK_CONVERSATION,
  SELECT_VIEWS,
  SELECT_TARGETS,
  SELECT_BODIES,
  WRITE_BODIES,
  SELECT_LAST_EDITS,
  SELECT_KEY,
  SELECT_MENTIONED,
  INSERT_REVISION,
  DELETE_MENTIONS,
  INSERT_MENTIONS,
  WRITE_STATES,
  EMPTY_REVISIONS,
  DELETE_REACTIONS,
  INSERT_WITHDRAWN,
  COUNT_PINS,
  SELECT_OWN,
  DELETE_OWN,
  INSERT_OWN,
  SELECT_RECENT,
}).map(([name, text]) => ({ name, text }));

/**
 * Plan nodes whose cost grows with a table instead of with the arrays. im.bucket always has 1,024
 * rows.
 */
const FORBIDDEN = /Seq Scan on (?!bucket\b)\w+|Hash Join|Merge Join|Hash Cond|Merge Cond/;
/** A look-up by a part of the key, with a filter for the other part. */
const LOOSE = /Join Filter: .*_id = /;

function assertBounded(name: string, plan: string): void {
  assert.doesNotMatch(plan, FORBIDDEN, name);
  // The claim joins only its claimed rows, which are bounded.
  if (name !== claimOutbox.name) assert.doesNotMatch(plan, LOOSE, name);
}

async function plans(): Promise<Map<string, string>> {
  const client = await pool.connect();
  try {
    const found = new Map<string, string>();
    for (const { name, text } of [...statements, ...ofTransactions]) {
      const { rows } = await client.query(`EXPLAIN (GENERIC_PLAN) ${text}`);
      found.set(name, rows.map((row) => row["QUERY PLAN"]).join("\n"));
    }
    return found;
  } finally {
    client.release();
  }
}

test("every statement uses an index, on empty and on small tables", async () => {
  for (const [name, plan] of await plans()) assertBounded(name, plan);
  await pool.query(`
    INSERT INTO im.conversation (conversation_id, kind, member_count, created_at_ms)
      SELECT n, 1, 2, 0 FROM generate_series(1, 300) n;
    INSERT INTO im.member (conversation_id, user_id, kind)
      SELECT n, u, 1 FROM generate_series(1, 300) n, generate_series(1, 2) u;
    INSERT INTO im.entry SELECT n, s, n * 100 + s, 1, s::text, 1, s, 0, ''
      FROM generate_series(1, 300) n, generate_series(1, 20) s;
    ANALYZE`);
  for (const [name, plan] of await plans()) assertBounded(name, plan);
});

test("statements on conversations refuse a bucket of another database", () => {
  // The append compares the member version, which a move changes. It follows each search for duplicates.
  const unchecked = statements.filter(
    ({ route, text }) => route.kind === "conversations" && !text.includes("im.owns("),
  );
  assert.deepEqual(unchecked, [appendEntries, appendMentions, selectDuplicates]);
});

test("pages of Sync and of the log use the indexes on the keys of the caller", async () => {
  const found = await plans();
  assert.match(found.get(selectChanged.name)!, /Index (Only )?Scan using member_user/);
  assert.match(found.get(selectChanged.name)!, /Index (Only )?Scan using entry_sender/);
  assert.match(found.get(selectAfter.name)!, /Index Cond: .*conversation_id = .*sequence >/);
  assert.match(found.get(selectBefore.name)!, /Index Scan Backward using entry_pkey/);
  for (const { name } of [selectGroups, groupsByUser.withBuckets])
    assert.match(found.get(name)!, /Index Only Scan using member_group/);
  assert.match(found.get(claimOutbox.name)!, /Index Scan using outbox_next/);
  for (const { name } of [selectDuplicates, selectOwnDuplicates])
    assert.match(found.get(name)!, /client_message_id = /);
});

test("the rows of changed messages are found by their whole keys", async () => {
  const found = await plans();
  assert.match(found.get("WRITE_BODIES")!, /Index Cond: .*conversation_id = .*sequence = /);
  assert.match(found.get("WRITE_BODIES")!, /Tid Scan on entry/);
  for (const name of ["SELECT_OWN", "DELETE_OWN"])
    assert.match(found.get(name)!, /using reaction_pkey .*\n.*Index Cond: .*user_id >= /);
  assert.match(found.get("SELECT_RECENT")!, /Index Scan Backward using reaction_emoji/);
});
