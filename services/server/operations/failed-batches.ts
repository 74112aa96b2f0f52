import { create } from "@bufbuild/protobuf";
import {
  type FailedBatch,
  FailedBatchSchema,
  type ListFailedBatchesRequest,
  type ListFailedBatchesResponse,
  ListFailedBatchesResponseSchema,
} from "#gen/lucky/operations/v1/operations_pb.js";
import { idOfPageToken, pageOf, pageTokenOf } from "#platform/rpc/pages.ts";
import type { Statement } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";
import { numbersOf } from "./database-numbers.ts";

const DEFAULT_PAGE_SIZE = 50;
/** Maximum conversations of a batch in an answer. */
const MAX_RANGES = 20;

/** Failed batches with an id above $1. */
export const selectFailed: Statement = {
  name: "im_outbox_failed",
  route: { kind: "everywhere", merge: "by outbox_id, in ascending order" },
  text: `
    SELECT outbox_id, created_at_ms, failed_at_ms, attempts, failure,
           cardinality(conversation_ids) AS conversations,
           (SELECT sum(n) FROM unnest(counts) AS n)::int AS entries,
           conversation_ids[1:${MAX_RANGES}]::text[], base_sequences[1:${MAX_RANGES}]::text[],
           counts[1:${MAX_RANGES}]
      FROM im.outbox
     WHERE next_attempt_at_ms IS NULL AND outbox_id > $1::bigint
     ORDER BY outbox_id LIMIT $2::int`,
};

interface FailedRow {
  readonly outbox_id: string;
  readonly created_at_ms: string;
  readonly failed_at_ms: string | null;
  readonly attempts: number;
  readonly failure: string | null;
  readonly conversations: number;
  readonly entries: number;
  readonly conversation_ids: readonly string[];
  readonly base_sequences: readonly string[];
  readonly counts: readonly number[];
}

/** Lists the failed batches of all databases. Throws INVALID_ARGUMENT. */
export async function listFailedBatches(
  logs: Logs,
  { pageSize, pageToken }: ListFailedBatchesRequest,
): Promise<ListFailedBatchesResponse> {
  const size = pageSize || DEFAULT_PAGE_SIZE;
  const after = String(idOfPageToken(pageToken) ?? 0n);
  const { results, failures } = await logs.everywhere(async (db) => {
    const rows = await db.run<FailedRow>(selectFailed, [after, size + 1]);
    return rows.map((row) => batchOf(row, db.number + 1));
  });
  const batches = results.flat().sort(byId);
  const { page, nextPageToken } = pageOf(batches, size, ({ batchId }) =>
    pageTokenOf(BigInt(batchId)),
  );
  return create(ListFailedBatchesResponseSchema, {
    batches: page,
    nextPageToken,
    unreachableDatabases: numbersOf(failures),
  });
}

const byId = (one: FailedBatch, other: FailedBatch) =>
  BigInt(one.batchId) < BigInt(other.batchId) ? -1 : 1;

function batchOf(row: FailedRow, database: number): FailedBatch {
  return create(FailedBatchSchema, {
    batchId: row.outbox_id,
    database,
    createdAtMs: BigInt(row.created_at_ms),
    failedAtMs: BigInt(row.failed_at_ms ?? 0),
    attempts: row.attempts,
    failure: row.failure ?? "",
    conversationCount: row.conversations,
    entryCount: row.entries,
    ranges: row.conversation_ids.map((conversationId, at) => {
      const base = BigInt(row.base_sequences[at]!);
      const lastSequence = base + BigInt(row.counts[at]!);
      return { conversationId, firstSequence: base + 1n, lastSequence };
    }),
  });
}
