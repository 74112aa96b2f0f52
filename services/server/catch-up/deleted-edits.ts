import { create } from "@bufbuild/protobuf";
import { type Edit, EditSchema } from "#gen/lucky/message/v1/content_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";

/** The messages among $3 of the conversation $1 that the user $2 deleted for themselves. */
export const selectDeleted: Statement = {
  name: "im_deleted_messages",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT h.sequence FROM unnest($3::bigint[]) AS i(sequence)
     CROSS JOIN LATERAL (
       SELECT d.sequence FROM im.hidden d
        WHERE d.conversation_id = $1::bigint AND d.user_id = $2::bigint AND d.sequence = i.sequence
       OFFSET 0) h
     WHERE im.owns(ARRAY[$1::bigint])`,
};

/**
 * Removes the text from edits of messages that the user deleted for themselves: such an edit reads like a
 * superseded one. Reads the database only when there are edits with a text. Throws UNAVAILABLE.
 */
export async function emptyDeletedEdits(
  db: Database,
  { conversationId, userId }: { readonly conversationId: string; readonly userId: string },
  entries: readonly Entry[],
): Promise<void> {
  const edits = entries.filter((entry) => editOf(entry)?.change.case !== undefined);
  if (edits.length === 0) return;
  const targets = new Set(edits.map((entry) => editOf(entry)!.targetSequence));
  const values = [conversationId, userId, bigints([...targets])];
  const rows = await db.run<{ sequence: string }>(selectDeleted, values);
  const deleted = new Set(rows.map(({ sequence }) => BigInt(sequence)));
  for (const { content } of edits) {
    const { targetSequence } = content!.kind.value as Edit;
    if (!deleted.has(targetSequence)) continue;
    content!.kind = { case: "edit", value: create(EditSchema, { targetSequence }) };
  }
}

function editOf({ content }: Entry): Edit | undefined {
  return content?.kind.case === "edit" ? content.kind.value : undefined;
}
