import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { bigints, smallints } from "../log/arrays.ts";
import type { PoolClient } from "../log/database.ts";
import type { Target } from "./targets.ts";

export const SELECT_BODIES = `
  SELECT e.sequence, e.body
    FROM unnest($2::bigint[]) AS i(sequence)
   CROSS JOIN LATERAL (
     SELECT * FROM im.entry e WHERE e.conversation_id = $1::bigint AND e.sequence = i.sequence OFFSET 0) e`;

// By ctid, so that each row is looked up by its whole key. No other transaction changes the rows meanwhile.
export const WRITE_BODIES = `
  UPDATE im.entry e SET body = r.body
    FROM (SELECT x.ctid, i.body
            FROM unnest($2::bigint[], $3::bytea[]) AS i(sequence, body)
           CROSS JOIN LATERAL (
             SELECT n.ctid FROM im.entry n
              WHERE n.conversation_id = $1::bigint AND n.sequence = i.sequence OFFSET 0) x) r
   WHERE e.ctid = r.ctid`;

/** Sequences of the last edits of messages: $3 has the numbers of the versions that these replaced. */
export const SELECT_LAST_EDITS = `
  SELECT r.edit_sequence
    FROM unnest($2::bigint[], $3::smallint[]) AS i(sequence, revision)
   CROSS JOIN LATERAL (
     SELECT * FROM im.revision r
      WHERE r.conversation_id = $1::bigint AND r.sequence = i.sequence AND r.revision = i.revision
     OFFSET 0) r`;

/** Reads the bodies of entries, by their sequences. */
export async function readBodies(
  client: PoolClient,
  conversationId: string,
  sequences: readonly number[],
): Promise<ReadonlyMap<number, Buffer>> {
  const { rows } = await client.query<{ sequence: string; body: Buffer }>(SELECT_BODIES, [
    conversationId,
    bigints(sequences),
  ]);
  return new Map(rows.map(({ sequence, body }) => [Number(sequence), body]));
}

/** Replaces the bodies of entries. */
export async function writeBodies(
  client: PoolClient,
  conversationId: string,
  bodies: readonly (readonly [sequence: number, body: Uint8Array])[],
): Promise<void> {
  await client.query(WRITE_BODIES, [
    conversationId,
    bigints(bodies.map(([sequence]) => sequence)),
    bodies.map(([, body]) => Buffer.from(body)),
  ]);
}

/**
 * Removes the text from the last edit entry of each message. The earlier ones have lost theirs when a later
 * one replaced them.
 */
export async function supersedeEdits(
  client: PoolClient,
  conversationId: string,
  targets: readonly Target[],
): Promise<void> {
  const edited = targets.filter(({ edits }) => edits > 0);
  if (edited.length === 0) return;
  const { rows } = await client.query<{ edit_sequence: string }>(SELECT_LAST_EDITS, [
    conversationId,
    bigints(edited.map(({ sequence }) => sequence)),
    smallints(edited.map(({ edits }) => edits - 1)),
  ]);
  const sequences = rows.map((row) => Number(row.edit_sequence));
  const bodies = await readBodies(client, conversationId, sequences);
  await writeBodies(
    client,
    conversationId,
    [...bodies].map(([sequence, body]) => [sequence, superseded(body)]),
  );
}

/** The body of an edit entry with nothing but its target. */
function superseded(body: Uint8Array): Uint8Array {
  const entry = fromBinary(EntrySchema, body);
  const kind = entry.content?.kind;
  if (kind?.case !== "edit") throw new Error("the entry of an edit is none");
  const { targetSequence } = kind.value;
  entry.content = create(ContentSchema, { kind: { case: "edit", value: { targetSequence } } });
  return toBinary(EntrySchema, entry);
}
