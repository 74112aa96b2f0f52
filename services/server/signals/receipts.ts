import { ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/message_pb.js";
import { userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { WireWriter } from "#platform/wire.ts";
import type { Conversations } from "../conversations/conversations.ts";
import { type Signal, serverFrame } from "../delivery/envelopes.ts";
import type { Relay } from "../delivery/relay.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import type { ServerMetrics } from "../metrics.ts";

/** How far a user says to have received and read a conversation; 0 leaves a cursor as it is. */
export interface Advance {
  readonly userId: string;
  readonly conversationId: string;
  readonly deliveredSequence: number;
  readonly readSequence: number;
  /** A device did not acknowledge up to here in time; 0 for nothing to report. */
  readonly undeliveredSequence: number;
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

// In the order of the arrays, which ascends: two servers never lock in different orders. OFFSET 0 keeps
// the look-ups apart, each by its whole key: joined freely, all members of a group were read for each
// of them (300 µs a cursor instead of 9, in a group of 1,000).
export const updateCursors: Statement = {
  name: "im_advance",
  text: `
    UPDATE im.member m
       SET delivered_sequence = greatest(m.delivered_sequence, i.delivered),
           read_sequence = greatest(m.read_sequence, i.read),
           updated_at_ms = greatest(m.updated_at_ms, $5::bigint)
      FROM (SELECT a.conversation_id, a.user_id, w.read_sequence AS before,
                   least(a.delivered, last.sequence) AS delivered,
                   least(a.read, last.sequence) AS read
              FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                     AS a(conversation_id, user_id, delivered, read)
             CROSS JOIN LATERAL (SELECT p.left_sequence, p.read_sequence FROM im.member p
                                  WHERE p.conversation_id = a.conversation_id
                                    AND p.user_id = a.user_id OFFSET 0) w
             CROSS JOIN LATERAL (SELECT c.last_sequence FROM im.conversation c
                                  WHERE c.conversation_id = a.conversation_id OFFSET 0) c
             CROSS JOIN LATERAL (SELECT CASE WHEN w.left_sequence > 0 THEN w.left_sequence
                                             ELSE c.last_sequence END AS sequence) last
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

/** Cursors of members: they move forward only, and those concerned are told, if they are there. */
export class Receipts {
  readonly #options: {
    db: Database;
    conversations: Conversations;
    relay: Relay;
    clock: Clock;
    metrics: ServerMetrics;
  };

  constructor(options: {
    db: Database;
    conversations: Conversations;
    relay: Relay;
    clock: Clock;
    metrics: ServerMetrics;
  }) {
    this.#options = options;
  }

  /**
   * Moves cursors, all in one statement: never back, never past the last sequence that the user may
   * see. What is read was delivered. Who is no member is passed over. Throws UNAVAILABLE.
   */
  async advance(advances: readonly Advance[]): Promise<void> {
    const { db, clock, relay } = this.#options;
    const joined = deduplicate(advances).filter(({ deliveredSequence }) => deliveredSequence > 0);
    const signals: Signal[] = [];
    if (joined.length > 0) {
      const moved = await db.run<MovedCursorRow>(updateCursors, [
        bigints(joined.map(({ conversationId }) => conversationId)),
        bigints(joined.map(({ userId }) => userId)),
        bigints(joined.map(({ deliveredSequence }) => deliveredSequence)),
        bigints(joined.map(({ readSequence }) => readSequence)),
        String(clock.now()),
      ]);
      for (const row of moved) {
        const signal = signalOf(row);
        if (signal !== undefined) signals.push(signal);
      }
    }
    signals.push(...(await this.#undelivered(advances)));
    relay.signal(signals);
  }

  /** Tells the other user of a direct conversation that a device is silent. */
  async #undelivered(advances: readonly Advance[]): Promise<Signal[]> {
    const { conversations, metrics } = this.#options;
    const silent = advances.filter(({ undeliveredSequence }) => undeliveredSequence > 0);
    if (silent.length === 0) return [];
    metrics.undelivered(silent.length);
    const known = await conversations.all([...new Set(silent.map((a) => a.conversationId))]);
    return silent.flatMap(({ conversationId, userId, undeliveredSequence }) => {
      const users = known.get(conversationId)?.users ?? [];
      const peerId = users.find((id) => id !== userId);
      if (peerId === undefined || !users.includes(userId)) return [];
      const receipt = new WireWriter(48)
        .varint(1, BigInt(conversationId))
        .varint(2, BigInt(userId))
        .varint(5, undeliveredSequence)
        .finish();
      return { channels: [userChannel(peerId)], frame: serverFrame(RECEIPT, receipt) };
    });
  }
}

/** One advance a user and conversation, in the order in which rows are locked. */
function deduplicate(advances: readonly Advance[]): Advance[] {
  const joined = new Map<string, Advance>();
  for (const advance of advances) {
    const key = `${advance.conversationId} ${advance.userId}`;
    const before = joined.get(key);
    const readSequence = Math.max(advance.readSequence, before?.readSequence ?? 0);
    const deliveredSequence = Math.max(
      readSequence,
      advance.deliveredSequence,
      before?.deliveredSequence ?? 0,
    );
    joined.set(key, { ...advance, readSequence, deliveredSequence });
  }
  return [...joined.values()]
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
 * Who hears of a cursor: the other user of a direct conversation, and, of what was read, the user's
 * own devices.
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
