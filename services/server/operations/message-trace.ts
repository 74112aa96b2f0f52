import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import {
  type InstanceDeliveries,
  type Publication,
  PublicationSchema,
  PublicationState,
  type TraceMessageRequest,
  type TraceMessageResponse,
  TraceMessageResponseSchema,
} from "#gen/lucky/operations/v1/operations_pb.js";
import { fail, invalidField } from "#platform/errors.ts";
import type { Database, Statement } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";

/** Maximum members in an answer. */
const MAX_MEMBERS = 200;

/** An entry without its content: one row with null columns when the log lacks it. */
export const selectTraced: Statement = {
  name: "im_trace_entry",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT c.kind AS conversation_kind, c.last_sequence, e.message_id, e.sender_id,
           e.client_message_id, e.kind, e.accepted_at_ms, octet_length(e.body) AS bytes
      FROM im.conversation c
      LEFT JOIN im.entry e ON e.conversation_id = c.conversation_id AND e.sequence = $2::bigint
     WHERE c.conversation_id = $1::bigint AND im.owns(ARRAY[$1::bigint])`,
};

/** The members who may see an entry, in the order of their delivered cursors, with the counts. */
export const selectTracedMembers: Statement = {
  name: "im_trace_members",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT user_id, delivered_sequence, read_sequence, count(*) OVER ()::int AS members,
           (count(*) FILTER (WHERE delivered_sequence >= $2::bigint) OVER ())::int AS delivered,
           (count(*) FILTER (WHERE read_sequence >= $2::bigint) OVER ())::int AS read
      FROM im.member
     WHERE conversation_id = $1::bigint AND im.owns(ARRAY[$1::bigint])
       AND first_sequence <= $2::bigint AND (left_sequence = 0 OR left_sequence >= $2::bigint)
     ORDER BY delivered_sequence, user_id LIMIT ${MAX_MEMBERS}`,
};

/** The batch of an entry, while it is in the outbox: a scan of the outbox, which is short. */
export const selectTracedBatch: Statement = {
  name: "im_trace_batch",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT o.outbox_id, o.attempts, o.next_attempt_at_ms, o.failure
      FROM im.outbox o
     WHERE $1::bigint = ANY (o.conversation_ids) AND im.owns(ARRAY[$1::bigint])
       AND EXISTS (SELECT FROM unnest(o.conversation_ids, o.base_sequences, o.counts) AS i(id, base, n)
                    WHERE i.id = $1::bigint AND $2::bigint > i.base AND $2::bigint <= i.base + i.n)
     ORDER BY o.outbox_id LIMIT 1`,
};

/** Whether the sweep's news has the entry or a later one: a scan of the last minutes. */
export const selectTracedNews: Statement = {
  name: "im_trace_news",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT 1 FROM im.news n, unnest(n.conversation_ids, n.last_sequences) AS i(id, last)
     WHERE $1::bigint = ANY (n.conversation_ids) AND im.owns(ARRAY[$1::bigint])
       AND i.id = $1::bigint AND i.last >= $2::bigint
       AND n.changed_by >= (SELECT floor FROM im.news_floor WHERE one_row) LIMIT 1`,
};

interface TracedRow {
  readonly conversation_kind: number;
  readonly last_sequence: string;
  readonly message_id: string | null;
  readonly sender_id: string;
  readonly client_message_id: string | null;
  readonly kind: number;
  readonly accepted_at_ms: string;
  readonly bytes: number;
}

interface MemberRow {
  readonly user_id: string;
  readonly delivered_sequence: string;
  readonly read_sequence: string;
  readonly members: number;
  readonly delivered: number;
  readonly read: number;
}

interface BatchRow {
  readonly outbox_id: string;
  readonly attempts: number;
  readonly next_attempt_at_ms: string | null;
  readonly failure: string | null;
}

/** A question for connect instances. */
export interface DeliveryQuestion {
  readonly conversationId: string;
  readonly sequence: bigint;
  /** Users whose channels hear the conversation, for a direct one. */
  readonly userIds: readonly string[];
}

/** Questions about deliveries, to the connect instances. */
export interface Deliveries {
  /** One answer per instance, ordered by id; a failed one has the reason. Never rejects. */
  of(question: DeliveryQuestion, signal: AbortSignal): Promise<InstanceDeliveries[]>;
}

/** Follows one entry. Throws CONVERSATION_NOT_FOUND, INVALID_ARGUMENT, UNAVAILABLE. */
export async function traceMessage(
  { logs, deliveries }: { readonly logs: Logs; readonly deliveries: Deliveries },
  { conversationId, sequence }: TraceMessageRequest,
  signal: AbortSignal,
): Promise<TraceMessageResponse> {
  const { row, members, publication, database } = await logs.onConversation(conversationId, (db) =>
    readTrace(db, [conversationId, String(sequence)]),
  );
  const isDirect = row.conversation_kind === ConversationKind.DIRECT;
  const userIds = isDirect ? members.map(({ user_id }) => user_id) : [];
  const [counted] = members;
  return create(TraceMessageResponseSchema, {
    entry: entryOf(row, database),
    publication,
    memberCount: counted?.members ?? 0,
    deliveredCount: counted?.delivered ?? 0,
    readCount: counted?.read ?? 0,
    members: members.map((member) => ({
      userId: member.user_id,
      deliveredSequence: BigInt(member.delivered_sequence),
      readSequence: BigInt(member.read_sequence),
    })),
    instances: await deliveries.of({ conversationId, sequence, userIds }, signal),
  });
}

async function readTrace(db: Database, values: [conversationId: string, sequence: string]) {
  const [row] = await db.run<TracedRow>(selectTraced, values);
  if (row === undefined) throw fail(ErrorReason.CONVERSATION_NOT_FOUND, "no such conversation");
  if (BigInt(values[1]) > BigInt(row.last_sequence))
    throw invalidField("sequence", `after the last one of the conversation, ${row.last_sequence}`);
  const members = await db.run<MemberRow>(selectTracedMembers, values);
  const publication = await publicationOf(db, values);
  return { row, members, publication, database: db.number + 1 };
}

/** Reads the outbox first: a batch that is confirmed between the two reads is in the news. */
async function publicationOf(
  db: Database,
  values: [conversationId: string, sequence: string],
): Promise<Publication> {
  const [batch] = await db.run<BatchRow>(selectTracedBatch, values);
  if (batch === undefined) {
    const news = await db.run(selectTracedNews, values);
    const state =
      news.length > 0 ? PublicationState.CONFIRMED_RECENTLY : PublicationState.CONFIRMED;
    return create(PublicationSchema, { state });
  }
  const { outbox_id: batchId, attempts, next_attempt_at_ms: nextMs, failure } = batch;
  return create(PublicationSchema, {
    state: nextMs === null ? PublicationState.FAILED : PublicationState.WAITING,
    batchId,
    attempts,
    nextAttemptAtMs: BigInt(nextMs ?? 0),
    failure: failure ?? "",
  });
}

function entryOf(row: TracedRow, database: number) {
  if (row.message_id === null) return undefined;
  const kind = ContentSchema.fields.find(({ number }) => number === row.kind);
  return {
    messageId: row.message_id,
    senderId: row.sender_id,
    clientMessageId: row.client_message_id ?? "",
    kind: kind?.name ?? "",
    bytes: row.bytes,
    acceptedAtMs: BigInt(row.accepted_at_ms),
    database,
  };
}
