import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type pg from "pg";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { EntrySchema, MessageStateSchema } from "#gen/lucky/message/v1/entry_pb.js";
import { withoutSenderFields } from "../log/entries.ts";
import { contentOf } from "../server.fixture.ts";

/** A message in the log. */
interface Message {
  readonly conversationId: string;
  readonly sequence: number;
}

async function bodyOf(pool: pg.Pool, { conversationId, sequence }: Message): Promise<Buffer> {
  const { rows } = await pool.query(
    "SELECT body FROM im.entry WHERE conversation_id = $1 AND sequence = $2",
    [conversationId, sequence],
  );
  return rows[0].body;
}

async function replaceBody(pool: pg.Pool, message: Message, body: Uint8Array): Promise<void> {
  await pool.query("UPDATE im.entry SET body = $3 WHERE conversation_id = $1 AND sequence = $2", [
    message.conversationId,
    message.sequence,
    body,
  ]);
}

/** Leaves a message as a recall does: without its content. */
export async function recall(pool: pg.Pool, message: Message): Promise<void> {
  const { conversationId, sequence } = message;
  await replaceBody(pool, message, withoutSenderFields(await bodyOf(pool, message)));
  await pool.query(
    "UPDATE im.revision SET body = '' WHERE conversation_id = $1 AND sequence = $2",
    [conversationId, sequence],
  );
  const state = create(MessageStateSchema, { recalled: { userId: "1" } });
  await pool.query(
    `INSERT INTO im.message_state (conversation_id, sequence, changed_sequence, recalled, state)
     VALUES ($1, $2, 0, true, $3) ON CONFLICT (conversation_id, sequence) DO UPDATE SET recalled = true`,
    [conversationId, sequence, toBinary(MessageStateSchema, state)],
  );
}

/** Leaves a text message as an edit does: the first version becomes a revision. */
export async function edit(pool: pg.Pool, message: Message, text: string): Promise<void> {
  const { conversationId, sequence } = message;
  const body = await bodyOf(pool, message);
  const edited = fromBinary(EntrySchema, body);
  edited.content = create(ContentSchema, contentOf(text));
  await pool.query(
    `INSERT INTO im.revision (conversation_id, sequence, revision, edit_sequence, at_ms, body)
     SELECT $1, $2, count(*), 0, 0, $3 FROM im.revision WHERE conversation_id = $1 AND sequence = $2`,
    [conversationId, sequence, body],
  );
  await replaceBody(pool, message, toBinary(EntrySchema, edited));
  await pool.query(
    `INSERT INTO im.message_state (conversation_id, sequence, changed_sequence, edits, state)
     VALUES ($1, $2, 0, 1, '') ON CONFLICT DO NOTHING`,
    [conversationId, sequence],
  );
}

/** Deletes a message for one user. */
export async function hide(pool: pg.Pool, userId: string, message: Message): Promise<void> {
  await pool.query(
    "INSERT INTO im.hidden (conversation_id, user_id, sequence, counted) VALUES ($1, $2, $3, true)",
    [message.conversationId, userId, message.sequence],
  );
}
