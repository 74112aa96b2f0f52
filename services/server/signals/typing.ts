import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { userChannel } from "#platform/channels.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { WireWriter } from "#platform/wire.ts";
import type { Conversation, Conversations } from "../conversations/conversations.ts";
import { type Signal, serverFrame } from "../delivery/envelopes.ts";
import type { Relay } from "../delivery/relay.ts";
import type { ServerMetrics } from "../metrics.ts";

/** A user starts or stops typing. */
export interface TypingSignal {
  readonly senderId: string;
  readonly conversationId: string;
  readonly typing: boolean;
}

const TYPING = ServerFrameSchema.fields.find(({ localName }) => localName === "typing")!.number;

export interface TypingDependencies {
  readonly conversations: Conversations;
  readonly relay: Relay;
  readonly metrics: ServerMetrics;
  readonly log: Log;
}

/**
 * Publishes a typing signal to the other members; nothing is stored. Throws CONVERSATION_NOT_FOUND,
 * UNAVAILABLE.
 */
export async function publishTyping(
  { conversations, relay }: TypingDependencies,
  signal: TypingSignal,
): Promise<void> {
  const { conversationId, senderId: userId } = signal;
  const conversation = await conversations.ofMember({ conversationId, userId });
  if (conversation === undefined) {
    throw fail(ErrorReason.CONVERSATION_NOT_FOUND, "no such conversation");
  }
  relay.signal([typingSignal(signal, conversation)]);
}

/**
 * Publishes a batch of typing signals. Drops signals of users that are not members, and signals for
 * a conversation that cannot be read. Never throws.
 */
export async function publishTypings(
  { conversations, relay, metrics, log }: TypingDependencies,
  signals: readonly TypingSignal[],
): Promise<void> {
  const recent = ({ conversationId, senderId: userId }: TypingSignal) =>
    conversations.recent({ conversationId, userId });
  const uncached = signals.filter((signal) => recent(signal) === undefined);
  let fresh: ReadonlyMap<string, Conversation> = new Map();
  try {
    if (uncached.length > 0) {
      fresh = await conversations.read(
        uncached.map(({ conversationId, senderId: userId }) => ({ conversationId, userId })),
      );
    }
  } catch (error) {
    log.debug({ event: "typing_dropped", err: error });
  }
  const passed = signals.flatMap((signal) => {
    const read = fresh.get(signal.conversationId);
    const conversation = read?.memberships.has(signal.senderId) ? read : recent(signal);
    return conversation === undefined ? [] : [typingSignal(signal, conversation)];
  });
  metrics.signals("dropped", signals.length - passed.length);
  relay.signal(passed);
}

function typingSignal(signal: TypingSignal, conversation: Conversation): Signal {
  const { senderId, conversationId, typing } = signal;
  const message = new WireWriter(32).varint(1, BigInt(conversationId)).varint(2, BigInt(senderId));
  if (typing) message.varint(3, 1);
  const frame = serverFrame(TYPING, message.finish());
  if (conversation.kind === ConversationKind.DIRECT) {
    const others = conversation.users.filter((userId) => userId !== senderId);
    return { channels: others.map(userChannel), frame };
  }
  return { channels: conversation.channels, frame, exceptUserId: senderId };
}
