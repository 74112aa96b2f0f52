import { ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { bucketOf } from "#platform/buckets/bucket.ts";
import { userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { WireWriter } from "#platform/wire.ts";
import type { Conversations } from "../conversations/conversations.ts";
import { type Signal, serverFrame } from "../delivery/envelopes.ts";
import type { Relay } from "../delivery/relay.ts";
import { bigints } from "../log/arrays.ts";
import type { Statement } from "../log/database.ts";
import type { Failure, Logs, Spread } from "../log/logs.ts";
import type { ServerMetrics } from "../metrics.ts";

/** Cursors that a user reports for a conversation; 0 leaves a cursor unchanged. */
export interface Advance {
  readonly userId: string;
  readonly conversationId: string;
  readonly deliveredSequence: number;
  readonly readSequence: number;
  /** Last sequence that a device did not acknowledge before the time-out; 0 for no report. */
  readonly undeliveredSequence: number;
  /** Epoch of the conversation in which the sequences were received; 0: not checked. */
  readonly epoch: bigint;
}

interface MovedCursorRow {
  conversation_id: string;
  user_id: string;
  kind: number;
  peer_id: string | null;
  delivered_sequence: string;
  read_sequence: string;
  read_moved: boolean;
}

// Locks rows in the ascending order of the arrays, so that two servers do not deadlock. OFFSET 0
// keeps the look-ups separate, each by its whole key. Without it the planner reads all members of a
// group for each cursor: 300 µs a cursor instead of 9 µs, in a group of 1,000. A cursor of another epoch
// counts sequences of entries that are no longer in the log.
export const updateCursors: Statement = {
  name: "im_advance",
  route: { kind: "conversations", ids: 1 },
  text: `
    UPDATE im.member m
       SET delivered_sequence = greatest(m.delivered_sequence, i.delivered),
           read_sequence = greatest(m.read_sequence, i.read),
           changed_by = pg_current_xact_id()
      FROM (SELECT a.conversation_id, a.user_id, w.read_sequence AS before,
                   least(a.delivered, last.sequence) AS delivered,
                   least(a.read, last.sequence) AS read
              FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                     AS a(conversation_id, user_id, delivered, read, epoch)
             CROSS JOIN LATERAL (SELECT p.left_sequence, p.read_sequence FROM im.member p
                                  WHERE p.conversation_id = a.conversation_id
                                    AND p.user_id = a.user_id OFFSET 0) w
             CROSS JOIN LATERAL (SELECT c.last_sequence FROM im.conversation c
                                  WHERE c.conversation_id = a.conversation_id OFFSET 0) c
             CROSS JOIN LATERAL (SELECT CASE WHEN w.left_sequence > 0 THEN w.left_sequence
                                             ELSE c.last_sequence END AS sequence) last
             WHERE im.owns($1::bigint[])
               AND (a.epoch = 0 OR a.epoch = (SELECT b.epoch FROM im.bucket b
                                               WHERE b.bucket = (a.conversation_id & 1023)::smallint))
            OFFSET 0) i
     WHERE m.conversation_id = i.conversation_id AND m.user_id = i.user_id
       AND (i.delivered > m.delivered_sequence OR i.read > m.read_sequence)
    RETURNING m.conversation_id, m.user_id, m.kind, m.delivered_sequence, m.read_sequence,
              m.read_sequence > i.before AS read_moved,
              CASE WHEN m.kind = ${ConversationKind.DIRECT} THEN
                (SELECT p.user_id FROM im.member p
                  WHERE p.conversation_id = m.conversation_id AND p.user_id <> m.user_id)
              END AS peer_id`,
};

const RECEIPT = ServerFrameSchema.fields.find(({ localName }) => localName === "receipt")!.number;

export interface ReceiptDependencies {
  readonly logs: Logs;
  readonly conversations: Conversations;
  readonly relay: Relay;
  readonly clock: Clock;
  readonly metrics: ServerMetrics;
}

/**
 * Moves cursors forward, in one statement for each database, and publishes the receipts. A cursor never moves
 * back, nor past the last sequence that the user may see. Moving the read cursor also moves the
 * delivered cursor. Users that are not members, and cursors of another epoch, are skipped. Returns the
 * cursors of databases that failed; they can be repeated.
 */
export async function advanceCursors(
  dependencies: ReceiptDependencies,
  advances: readonly Advance[],
): Promise<readonly Failure<Advance>[]> {
  const { logs, relay } = dependencies;
  const moved: MovedCursorRow[] = [];
  const failures: Failure<Advance>[] = [];
  for (const merged of mergeAdvances(advances)) {
    const spread = await logs.spread(
      merged,
      ({ conversationId }) => bucketOf(conversationId),
      async (db, theirs) =>
        void moved.push(
          ...(await db.run<MovedCursorRow>(updateCursors, [
            bigints(theirs.map(({ conversationId }) => conversationId)),
            bigints(theirs.map(({ userId }) => userId)),
            bigints(theirs.map(({ deliveredSequence }) => deliveredSequence)),
            bigints(theirs.map(({ readSequence }) => readSequence)),
            bigints(theirs.map(({ epoch }) => epoch)),
          ])),
        ),
    );
    failures.push(...spread.failures);
  }
  const signals = moved.flatMap((row) => signalOf(row) ?? []);
  const failed = new Set(failures.flatMap(({ items }) => items.map((one) => one.conversationId)));
  const reachable = advances.filter(({ conversationId }) => !failed.has(conversationId));
  const undelivered = await undeliveredSignals(dependencies, reachable);
  relay.signal([...signals, ...undelivered.results]);
  return [...failures, ...undelivered.failures];
}

/**
 * Signals for the other user of a direct conversation, about a device that does not acknowledge.
 * Never rejects: the moved cursors have signals too, and a retry would not move them again.
 */
async function undeliveredSignals(
  { conversations, metrics }: Pick<ReceiptDependencies, "conversations" | "metrics">,
  advances: readonly Advance[],
): Promise<Spread<Advance, Signal>> {
  const silent = advances.filter(({ undeliveredSequence }) => undeliveredSequence > 0);
  if (silent.length === 0) return { results: [], failures: [] };
  const ids = new Set(silent.map(({ conversationId }) => conversationId));
  const { found, failures } = await conversations.allSome([...ids]);
  const failed = failures.map(({ items, error }) => {
    const theirs = new Set(items.map(({ conversationId }) => conversationId));
    return { items: silent.filter(({ conversationId }) => theirs.has(conversationId)), error };
  });
  metrics.undelivered(silent.length - failed.flatMap(({ items }) => items).length);
  const results = silent.flatMap(({ conversationId, userId, undeliveredSequence }) => {
    const users = found.get(conversationId)?.users ?? [];
    const peerId = users.find((id) => id !== userId);
    if (peerId === undefined || !users.includes(userId)) return [];
    const receipt = new WireWriter(48)
      .varint(1, BigInt(conversationId))
      .varint(2, BigInt(userId))
      .varint(5, undeliveredSequence)
      .finish();
    return { channels: [userChannel(peerId)], frame: serverFrame(RECEIPT, receipt) };
  });
  return { results, failures: failed };
}

/**
 * Maximum statements for a batch. The devices of a user know at most three epochs of a conversation: none,
 * that before a reset, and the current one.
 */
const MAX_EPOCHS = 4;

/**
 * Merges the advances of each user, conversation and epoch, and sorts them in the order of row locks. A
 * statement updates a row once, so advances of one user and conversation with different epochs are in
 * different lists. Drops the advances of a user and conversation beyond MAX_EPOCHS: a device that invents
 * epochs must not delay the cursors of others.
 */
function mergeAdvances(advances: readonly Advance[]): Advance[][] {
  const lists: Map<string, Advance>[] = [];
  for (const advance of advances) {
    const key = `${advance.conversationId} ${advance.userId}`;
    const isOfEpoch = (merged: Map<string, Advance>) =>
      (merged.get(key)?.epoch ?? advance.epoch) === advance.epoch;
    let merged = lists.find(isOfEpoch);
    if (merged === undefined) {
      if (lists.length === MAX_EPOCHS) continue;
      merged = new Map();
      lists.push(merged);
    }
    const before = merged.get(key);
    const readSequence = Math.max(advance.readSequence, before?.readSequence ?? 0);
    const deliveredSequence = Math.max(
      readSequence,
      advance.deliveredSequence,
      before?.deliveredSequence ?? 0,
    );
    merged.set(key, { ...advance, readSequence, deliveredSequence });
  }
  return lists.map(sorted);
}

function sorted(merged: ReadonlyMap<string, Advance>): Advance[] {
  return [...merged.values()]
    .filter(({ deliveredSequence }) => deliveredSequence > 0)
    .map((advance) => ({
      advance,
      conversation: BigInt(advance.conversationId),
      user: BigInt(advance.userId),
    }))
    .sort((a, b) => {
      if (a.conversation !== b.conversation) return a.conversation < b.conversation ? -1 : 1;
      return a.user < b.user ? -1 : 1;
    })
    .map(({ advance }) => advance);
}

/**
 * Creates the receipt of a moved cursor: for the other user of a direct conversation, and, when the
 * read cursor moved, for the user's own devices. Undefined when there is no receiver.
 */
function signalOf(row: MovedCursorRow): Signal | undefined {
  if (row.peer_id === null && !row.read_moved) return undefined;
  const receipt = new WireWriter(48)
    .varint(1, BigInt(row.conversation_id))
    .varint(2, BigInt(row.user_id))
    .varint(3, Number(row.delivered_sequence))
    .varint(4, Number(row.read_sequence))
    .finish();
  const channels = row.peer_id === null ? [] : [userChannel(row.peer_id)];
  if (row.read_moved) channels.push(userChannel(row.user_id));
  return { channels, frame: serverFrame(RECEIPT, receipt) };
}
