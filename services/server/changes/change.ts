import type { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Clock } from "#platform/clock.ts";
import { conversationNotFound } from "../conversations/refusal.ts";
import type { Database, PoolClient } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";
import type { Turns } from "../log/turns.ts";
import type { CommittedEntry, WriteEntry, WrittenEntry } from "../log/write-entry.ts";

/** Limits of changes. They may change while the process runs. */
export interface ChangeLimits {
  /** Time in which the author may edit a message, ms; 0: never. */
  readonly editWindowMs: number;
  readonly maxEdits: number;
  /** Time in which the author may recall a message, ms; 0: never. */
  readonly recallWindowMs: number;
  /** Maximum pinned messages of a conversation; 0: none. */
  readonly maxPins: number;
  /** Maximum different reactions to a message; 0: none. */
  readonly maxReactionKinds: number;
}

export interface ChangeDependencies {
  readonly logs: Logs;
  readonly clock: Clock;
  readonly config: ChangeLimits;
  readonly turns: Turns;
  readonly writeEntry: WriteEntry;
  /** Publishes an entry that was written to the database. Called after each commit. */
  readonly publish: (db: Database, written: CommittedEntry) => void;
}

/** A conversation whose row is locked until the end of the transaction. */
export interface LockedConversation {
  readonly conversationId: string;
  readonly kind: ConversationKind;
  /** Owner of a group; "0" for a direct conversation. */
  readonly ownerId: string;
  readonly memberCount: number;
  readonly lastSequence: number;
}

/** The outcome of a change. */
export interface Changed<T> {
  readonly answer: T;
  /** The entries that were written, in the order of their sequences. */
  readonly written?: readonly WrittenEntry[];
}

/**
 * Runs a change in its turn, in one transaction with the conversation locked, which serialises it with sends
 * and with the changes of other processes, and publishes its entries after the commit. It runs again after a conflict. Throws
 * CONVERSATION_NOT_FOUND, OVERLOADED, UNAVAILABLE, and errors of the work; then nothing has changed.
 */
export function change<T>(
  { logs, turns, publish }: Pick<ChangeDependencies, "logs" | "turns" | "publish">,
  conversationId: string,
  work: (client: PoolClient, conversation: LockedConversation) => Promise<Changed<T>>,
): Promise<T> {
  const apply = async (db: Database) => {
    const { answer, written = [] } = await db.transaction(async (client) =>
      work(client, await lockConversation(client, conversationId)),
    );
    for (const one of written) publish(db, one);
    return answer;
  };
  return turns.run(conversationId, () => logs.onConversation(conversationId, apply));
}

export const LOCK_CONVERSATION = `
  SELECT kind, owner_id, member_count, last_sequence FROM im.conversation
   WHERE conversation_id = $1::bigint AND im.owns(ARRAY[$1::bigint]) FOR NO KEY UPDATE`;

async function lockConversation(
  client: PoolClient,
  conversationId: string,
): Promise<LockedConversation> {
  const { rows } = await client.query<{
    kind: number;
    owner_id: string;
    member_count: number;
    last_sequence: string;
  }>(LOCK_CONVERSATION, [conversationId]);
  const [row] = rows;
  if (row === undefined) throw conversationNotFound();
  return {
    conversationId,
    kind: row.kind,
    ownerId: row.owner_id,
    memberCount: row.member_count,
    lastSequence: Number(row.last_sequence),
  };
}
