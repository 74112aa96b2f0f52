import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Ids } from "#platform/ids.ts";
import type { Span } from "#platform/tracing/traces.ts";
import { bigints } from "./arrays.ts";
import type { PoolClient } from "./database.ts";
import { bodyOf } from "./entries.ts";
import { KINDS, kindNumber } from "./kinds.ts";
import { type MembershipChange, membershipsOf } from "./memberships.ts";

/** An entry that the server itself writes. */
export interface NewEntry {
  readonly conversationId: string;
  /** User whose call caused the entry. */
  readonly causedBy: string;
  /** Any kind. Joins and leaves in it change the member count. */
  readonly content: MessageInitShape<typeof ContentSchema>;
  /**
   * Whether the transaction changes what members may do: roles, mutes, rules. It makes cached
   * memberships stale. Joins and leaves in the content do so without this flag.
   */
  readonly rightsChange?: boolean;
  /** client_message_id of the call that caused it, which deduplicates retries; absent: none. */
  readonly clientMessageId?: string;
}

/** An entry that enters the log when its transaction commits. */
export interface WrittenEntry {
  readonly outboxId: string;
  readonly conversationId: string;
  readonly conversationKind: ConversationKind;
  /** Both users of a direct conversation; empty for a group. */
  readonly users: readonly string[];
  readonly sequence: number;
  readonly acceptedAtMs: number;
  /** Bytes of im.entry.body. */
  readonly body: Buffer;
  readonly memberships: readonly MembershipChange[];
  /** Whether cached memberships of the conversation are stale after the commit. */
  readonly membersChanged: boolean;
}

/** An entry that the server wrote and committed. */
export interface CommittedEntry extends WrittenEntry {
  /** Span of the call that caused it; absent when the call is not traced. */
  readonly span?: Span;
}

/**
 * Appends an entry with its outbox row, within the caller's transaction. The caller has locked the
 * conversation's row or created it: a wait for the lock after reading the clock would make the time
 * too old.
 */
export type WriteEntry = (client: PoolClient, entry: NewEntry) => Promise<WrittenEntry>;

interface MovedRow {
  kind: number;
  last_sequence: string;
  last_countable: string;
  users: string[] | null;
}

/** Records that the entry $2 is a change, and the last message or tip before it. */
const INSERT_CHANGE = `
  INSERT INTO im.change (conversation_id, sequence, shown_sequence)
  SELECT $1::bigint, $2::bigint,
         coalesce((SELECT shown_sequence FROM im.change
                    WHERE conversation_id = $1::bigint AND sequence = $2::bigint - 1),
                  $2::bigint - 1)`;

/** Creates the function that appends the server's own entries. */
export function entryWriter(options: {
  ids: Ids;
  clock: Clock;
  /** Time after which the compensation publishes an entry that nobody has published, ms. */
  outboxDelayMs: number;
}): WriteEntry {
  const { ids, clock, outboxDelayMs } = options;
  return async (client, entry) => {
    const {
      conversationId,
      causedBy,
      content: init,
      rightsChange = false,
      clientMessageId,
    } = entry;
    const content = create(ContentSchema, init);
    const { case: name } = content.kind;
    if (name === undefined) throw new Error("an entry needs content");
    const memberships = membershipsOf(content, conversationId);
    const memberChange = memberships.reduce((sum, { member }) => sum + (member ? 1 : -1), 0);
    const acceptedAtMs = clock.now();
    const membersChanged = rightsChange || memberships.length > 0;
    const { rows } = await client.query<MovedRow>(
      `UPDATE im.conversation c
          SET last_sequence = last_sequence + 1, last_countable = last_countable + $2,
              member_version = member_version + $3, member_count = member_count + $4,
              changed_by = pg_current_xact_id()
        WHERE conversation_id = $1
    RETURNING kind, last_sequence, last_countable,
              CASE WHEN kind = ${ConversationKind.DIRECT} THEN
                ARRAY(SELECT m.user_id::text FROM im.member m
                       WHERE m.conversation_id = c.conversation_id ORDER BY m.user_id)
              END AS users`,
      [conversationId, Number(KINDS[name].countable), Number(membersChanged), memberChange],
    );
    const { kind: conversationKind, last_sequence, last_countable, users } = rows[0]!;
    const [messageId, outboxId] = [ids.next(), ids.next()];
    const prefix = {
      conversationId: BigInt(conversationId),
      messageId: BigInt(messageId),
      senderId: BigInt(causedBy),
    };
    const body = bodyOf(prefix, content, { kind: KINDS[name], clientMessageId });
    await client.query(
      `INSERT INTO im.entry (conversation_id, sequence, message_id, sender_id, kind, countable,
                             accepted_at_ms, body, client_message_id)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        conversationId,
        last_sequence,
        messageId,
        causedBy,
        kindNumber(name),
        last_countable,
        acceptedAtMs,
        body,
        clientMessageId ?? null,
      ],
    );
    if (!KINDS[name].shown) await client.query(INSERT_CHANGE, [conversationId, last_sequence]);
    await client.query(
      `INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms,
                              next_attempt_at_ms, member_ids)
       VALUES ($1, ARRAY[$2::bigint], ARRAY[$3::bigint - 1], ARRAY[1], $4, $5, $6)`,
      [
        outboxId,
        conversationId,
        last_sequence,
        acceptedAtMs,
        acceptedAtMs + outboxDelayMs,
        bigints(memberships.map(({ userId }) => userId)),
      ],
    );
    return {
      outboxId,
      conversationId,
      conversationKind,
      users: users ?? [],
      sequence: Number(last_sequence),
      acceptedAtMs,
      body,
      memberships,
      membersChanged,
    };
  };
}
