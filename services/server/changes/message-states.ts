import { toBinary } from "@bufbuild/protobuf";
import { type MessageState, MessageStateSchema } from "#gen/lucky/message/v1/entry_pb.js";
import { bigints, smallints } from "../log/arrays.ts";
import type { PoolClient } from "../log/database.ts";

/** The new row of a message in im.message_state. */
export interface NewState {
  readonly sequence: number;
  /** Number of its edits. */
  readonly edits: number;
  readonly state: MessageState;
}

export const WRITE_STATES = `
  INSERT INTO im.message_state (conversation_id, sequence, changed_sequence, recalled, edits,
                                pinned_sequence, state)
  SELECT $1::bigint, i.* FROM unnest($2::bigint[], $3::bigint[], $4::boolean[], $5::smallint[],
                                     $6::bigint[], $7::bytea[]) AS i
  ON CONFLICT (conversation_id, sequence) DO UPDATE
    SET changed_sequence = excluded.changed_sequence, recalled = excluded.recalled,
        edits = excluded.edits, pinned_sequence = excluded.pinned_sequence, state = excluded.state`;

/** Stores the states of messages, with the columns that repeat parts of them. */
export async function writeStates(
  client: PoolClient,
  conversationId: string,
  states: readonly NewState[],
): Promise<void> {
  await client.query(WRITE_STATES, [
    conversationId,
    bigints(states.map(({ sequence }) => sequence)),
    bigints(states.map(({ state }) => state.changedSequence)),
    states.map(({ state }) => state.recalled !== undefined),
    smallints(states.map(({ edits }) => edits)),
    bigints(states.map(({ state }) => state.pinnedSequence)),
    states.map(({ state }) => Buffer.from(toBinary(MessageStateSchema, state))),
  ]);
}
