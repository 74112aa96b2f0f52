import { create } from "@bufbuild/protobuf";
import {
  type DeadLetter,
  DeadLetterSchema,
  type ListDeadLettersRequest,
  type ListDeadLettersResponse,
  ListDeadLettersResponseSchema,
} from "#gen/lucky/operations/v1/operations_pb.js";
import { decodePosition, encodePosition, pageOf, pageTokenRefused } from "#platform/rpc/pages.ts";
import type { Statement } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";
import { numbersOf } from "./database-numbers.ts";

const DEFAULT_PAGE_SIZE = 50;
/** Dead letters that each database keeps; older ones are deleted. */
const KEPT = 1_000;
/** Greater than each id and each time. */
const MAX = String(2n ** 63n - 1n);

/** Stores dead letters, as JSON, and deletes all but the last ones. */
export const insertDeadLetters: Statement = {
  name: "im_dead_letters_insert",
  route: { kind: "own" },
  text: `
    WITH added AS (
      INSERT INTO im.dead_letter (at_ms, queue, reason, bytes, conversations, conversation_ids,
                                  first_sequences, last_sequences)
      SELECT at_ms, queue, reason, bytes, conversations, conversation_ids, first_sequences, last_sequences
        FROM json_to_recordset($1::json) AS l(
               at_ms bigint, queue text, reason text, bytes integer, conversations integer,
               conversation_ids bigint[], first_sequences bigint[], last_sequences bigint[])
      RETURNING dead_letter_id
    )
    DELETE FROM im.dead_letter
     WHERE dead_letter_id <= (SELECT max(dead_letter_id) FROM added) - ${KEPT}`,
};

/** Dead letters before a position: earlier than $1, or at that time with an id below $2. */
export const selectDeadLetters: Statement = {
  name: "im_dead_letters",
  route: { kind: "everywhere", merge: "by time, database and id, in descending order" },
  text: `
    SELECT dead_letter_id, at_ms, queue, reason, bytes, conversations, conversation_ids::text[],
           first_sequences::text[], last_sequences::text[]
      FROM im.dead_letter
     WHERE (at_ms, dead_letter_id) < ($1::bigint, $2::bigint)
     ORDER BY at_ms DESC, dead_letter_id DESC LIMIT $3::int`,
};

interface DeadLetterRow {
  readonly dead_letter_id: string;
  readonly at_ms: string;
  readonly queue: string;
  readonly reason: string;
  readonly bytes: number;
  readonly conversations: number;
  readonly conversation_ids: readonly string[];
  readonly first_sequences: readonly string[];
  readonly last_sequences: readonly string[];
}

/** Position of a dead letter in the list. */
interface Position {
  readonly atMs: string;
  readonly database: number;
  readonly id: string;
}

/** Stores dead letters in the first database that can be written to. Throws UNAVAILABLE. */
export async function recordDeadLetters(logs: Logs, letters: readonly DeadLetter[]): Promise<void> {
  const rows = letters.map(({ atMs, queue, reason, bytes, conversationCount, ranges }) => ({
    at_ms: String(atMs),
    queue,
    reason,
    bytes,
    conversations: conversationCount,
    conversation_ids: ranges.map(({ conversationId }) => conversationId),
    first_sequences: ranges.map(({ firstSequence }) => String(firstSequence)),
    last_sequences: ranges.map(({ lastSequence }) => String(lastSequence)),
  }));
  let failure: unknown;
  for (const db of logs.databases) {
    try {
      await db.run(insertDeadLetters, [JSON.stringify(rows)]);
      return;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** Lists the dead letters of all databases, newest first. Throws INVALID_ARGUMENT. */
export async function listDeadLetters(
  logs: Logs,
  { pageSize, pageToken }: ListDeadLettersRequest,
): Promise<ListDeadLettersResponse> {
  const size = pageSize || DEFAULT_PAGE_SIZE;
  const before = positionOf(pageToken);
  const { results, failures } = await logs.everywhere(async (db) => {
    const belowId =
      db.number === before.database ? before.id : db.number < before.database ? MAX : "0";
    const rows = await db.run<DeadLetterRow>(selectDeadLetters, [before.atMs, belowId, size + 1]);
    return rows.map((row) => ({ row, database: db.number }));
  });
  const found = results.flat().sort(newestFirst);
  const { page, nextPageToken } = pageOf(found, size, ({ row, database }) =>
    encodePosition(`${row.at_ms}.${database}.${row.dead_letter_id}`),
  );
  return create(ListDeadLettersResponseSchema, {
    letters: page.map(({ row }) => letterOf(row)),
    nextPageToken,
    unreachableDatabases: numbersOf(failures),
  });
}

interface Found {
  readonly row: DeadLetterRow;
  readonly database: number;
}

function newestFirst(one: Found, other: Found): number {
  const orders = [
    Number(other.row.at_ms) - Number(one.row.at_ms),
    other.database - one.database,
    Number(other.row.dead_letter_id) - Number(one.row.dead_letter_id),
  ];
  return orders.find((order) => order !== 0) ?? 0;
}

/** Throws INVALID_ARGUMENT. */
function positionOf(pageToken: string): Position {
  if (pageToken === "") return { atMs: MAX, database: Number.POSITIVE_INFINITY, id: MAX };
  const parts = /^(\d{1,18})\.(\d{1,3})\.(\d{1,18})$/.exec(decodePosition(pageToken));
  if (parts === null) throw pageTokenRefused();
  return { atMs: parts[1]!, database: Number(parts[2]), id: parts[3]! };
}

function letterOf(row: DeadLetterRow): DeadLetter {
  return create(DeadLetterSchema, {
    atMs: BigInt(row.at_ms),
    queue: row.queue,
    reason: row.reason,
    bytes: row.bytes,
    conversationCount: row.conversations,
    ranges: row.conversation_ids.map((conversationId, at) => ({
      conversationId,
      firstSequence: BigInt(row.first_sequences[at]!),
      lastSequence: BigInt(row.last_sequences[at]!),
    })),
  });
}
