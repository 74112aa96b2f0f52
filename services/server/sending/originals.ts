import { create, fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type Entry,
  EntrySchema,
  type Origin,
  OriginSchema,
} from "#gen/lucky/message/v1/entry_pb.js";
import { fail } from "#platform/errors.ts";
import { scan } from "#platform/wire.ts";
import { bigints } from "../log/arrays.ts";
import type { Statement } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";
import { stateTables } from "../log/states.ts";

/** A message to forward. */
export interface Original {
  readonly entry: Entry;
  /** Encoded Content, as the log has it. */
  readonly content: Uint8Array;
  /** The first original when it is a forward itself, else the message itself. */
  readonly origin: Origin;
  /** `recalled`: its content is gone. `unseen`: the caller may not see it, or has deleted it. */
  readonly state: "visible" | "recalled" | "unseen";
}

/** Messages of one conversation, for a user who forwards them. */
export interface OriginalsRequest {
  readonly callerId: string;
  readonly conversationId: string;
  readonly sequences: readonly bigint[];
}

/**
 * Maximum bytes of entries that are read. Messages whose contents may be forwarded together are smaller,
 * with everything that belongs to them.
 */
const READ_BYTES = 4_194_304;

interface OriginalRow {
  readonly nr: number;
  readonly accepted_at_ms: string;
  /** Null beyond READ_BYTES. */
  readonly body: Buffer | null;
  readonly unseen: boolean;
  /** Null: the message was never changed. */
  readonly recalled: boolean | null;
}

/** Entries by their sequences; one row with null columns for none, no row for a non-member. */
export const selectOriginals: Statement = {
  name: "im_originals",
  route: { kind: "conversations", ids: 1 },
  text: `
    WITH visible AS MATERIALIZED (
      SELECT m.first_sequence, m.left_sequence,
             CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                  ELSE 9223372036854775807 END AS last_sequence
        FROM im.member m
       WHERE m.conversation_id = $1::bigint AND m.user_id = $2::bigint
         AND im.owns(ARRAY[$1::bigint])
    )
    SELECT o.nr, o.accepted_at_ms, o.recalled,
           o.sequence < v.first_sequence OR o.sequence > v.last_sequence OR o.deleted AS unseen,
           CASE WHEN o.bytes <= ${READ_BYTES} THEN o.body END AS body
      FROM visible v
      LEFT JOIN LATERAL (
        SELECT f.*, sum(octet_length(f.body)) OVER (ORDER BY f.nr) AS bytes FROM (
          SELECT i.nr::int AS nr, e.sequence, e.accepted_at_ms, coalesce(s.earlier, e.body) AS body, s.recalled,
                 (SELECT true FROM im.hidden h
                   WHERE h.conversation_id = $1::bigint AND h.user_id = $2::bigint
                     AND h.sequence = e.sequence) IS NOT NULL AS deleted
            FROM unnest($3::bigint[]) WITH ORDINALITY AS i(sequence, nr)
           CROSS JOIN LATERAL (
             SELECT n.conversation_id, n.sequence, n.accepted_at_ms, n.body FROM im.entry n
              WHERE n.conversation_id = $1::bigint AND n.sequence = i.sequence OFFSET 0) e
            ${stateTables("e", "v.left_sequence")}) f
      ) o ON true
     ORDER BY o.nr`,
};

/**
 * Reads entries of a conversation that may be forwarded, in the order of their sequences in the request;
 * undefined where there is none. Throws CONVERSATION_NOT_FOUND for a user who never was a member,
 * FORWARD_TOO_LARGE, UNAVAILABLE.
 */
export async function readOriginals(
  logs: Logs,
  { callerId, conversationId, sequences }: OriginalsRequest,
): Promise<(Original | undefined)[]> {
  const values = [conversationId, callerId, bigints(sequences)];
  const rows = await logs.onConversation(conversationId, (db) =>
    db.run<OriginalRow | { readonly nr: null }>(selectOriginals, values),
  );
  if (rows.length === 0) throw fail(ErrorReason.CONVERSATION_NOT_FOUND, "no such conversation");
  const originals = new Array<Original | undefined>(sequences.length).fill(undefined);
  for (const row of rows) if (row.nr !== null) originals[row.nr - 1] = originalOf(row);
  return originals;
}

/** The error for messages that are together larger than a message may be. */
export function tooLarge(): Error {
  const text = "the messages to forward are together larger than 64 KiB";
  return fail(ErrorReason.FORWARD_TOO_LARGE, text);
}

function originalOf({ accepted_at_ms, body, unseen, recalled }: OriginalRow): Original {
  if (body === null) throw tooLarge();
  const entry = fromBinary(EntrySchema, body);
  const { senderId, messageId } = entry;
  const content = scan(body).find(([number]) => number === EntrySchema.field.content.number);
  const acceptedAtMs = BigInt(accepted_at_ms);
  return {
    entry,
    content: content === undefined ? new Uint8Array(0) : body.subarray(content[2], content[3]),
    origin: entry.origin ?? create(OriginSchema, { senderId, messageId, acceptedAtMs }),
    state: unseen ? "unseen" : recalled ? "recalled" : "visible",
  };
}
