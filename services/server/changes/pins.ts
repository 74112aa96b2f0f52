import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { fail } from "#platform/errors.ts";
import type { PoolClient } from "../log/database.ts";
import { type ChangeDependencies, change, type LockedConversation } from "./change.ts";
import { writeStates } from "./message-states.ts";
import {
  managesMessages,
  mustNotBeMuted,
  mustNotBeRecalled,
  readTarget,
  type View,
} from "./targets.ts";

/** A message to pin, or to remove the pin of. */
export interface PinChange {
  readonly conversationId: string;
  readonly sequence: bigint;
  readonly userId: string;
}

/** The number of pinned messages of the conversation $1, at most $2. */
export const COUNT_PINS = `
  SELECT count(*)::int AS pins
    FROM (SELECT 1 FROM im.message_state
           WHERE conversation_id = $1::bigint AND pinned_sequence > 0 LIMIT $2::int) AS counted`;

/**
 * Pins a message, or removes its pin; returns the sequence of the message's last change. Throws
 * CONVERSATION_NOT_FOUND, MESSAGE_NOT_FOUND, MUTED, CHANGE_DENIED, OVERLOADED, UNAVAILABLE; for a pin also
 * MESSAGE_RECALLED, PIN_LIMIT_REACHED.
 */
export function setPin(
  d: ChangeDependencies,
  { conversationId, sequence: targetSequence, userId }: PinChange,
  kind: "pin" | "unpin",
): Promise<bigint> {
  const sequence = Number(targetSequence);
  const pinned = kind === "pin";
  return change(d, conversationId, async (client, conversation) => {
    const { view, target } = await readTarget(client, conversation, { userId, sequence });
    mustNotBeMuted(view, d.clock.now());
    if (pinned) mustNotBeRecalled(target);
    mustMayPin(conversation, view);
    const { state, edits } = target;
    if (pinned === state.pinnedSequence > 0n) return { answer: state.changedSequence };
    if (pinned) await mustHaveRoom(client, conversationId, d.config.maxPins);
    const written = await d.writeEntry(client, {
      conversationId,
      causedBy: userId,
      content: { kind: { case: kind, value: { targetSequence } } },
    });
    const changedSequence = BigInt(written.sequence);
    Object.assign(state, { changedSequence, pinnedSequence: pinned ? changedSequence : 0n });
    await writeStates(client, conversationId, [{ sequence, edits, state }]);
    return { answer: changedSequence, written: [written] };
  });
}

/** Throws CHANGE_DENIED. */
function mustMayPin(conversation: LockedConversation, view: View): void {
  if (conversation.kind === ConversationKind.DIRECT || managesMessages(conversation, view)) return;
  throw fail(ErrorReason.CHANGE_DENIED, "only the owner and admins of a group pin messages");
}

/** Throws PIN_LIMIT_REACHED. */
async function mustHaveRoom(
  client: PoolClient,
  conversationId: string,
  maxPins: number,
): Promise<void> {
  const { rows } = await client.query<{ pins: number }>(COUNT_PINS, [conversationId, maxPins]);
  if (rows[0]!.pins < maxPins) return;
  const text =
    maxPins === 0
      ? "messages cannot be pinned"
      : `a conversation has at most ${maxPins} pinned messages`;
  throw fail(ErrorReason.PIN_LIMIT_REACHED, text);
}
