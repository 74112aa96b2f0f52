import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/message_pb.js";
import { userChannel } from "#platform/channels.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { WireWriter } from "#platform/wire.ts";
import type { Conversation, Conversations } from "../conversations/conversations.ts";
import { type Signal, serverFrame } from "../delivery/envelopes.ts";
import type { Relay } from "../delivery/relay.ts";
import type { ServerMetrics } from "../metrics.ts";

/** Somebody types, or stopped. */
export interface TypingSignal {
  readonly senderId: string;
  readonly conversationId: string;
  readonly typing: boolean;
}

const TYPING = ServerFrameSchema.fields.find(({ localName }) => localName === "typing")!.number;

/** Passes typing signals on to the other members; nothing is stored. */
export class Typing {
  readonly #conversations: Conversations;
  readonly #relay: Relay;
  readonly #metrics: ServerMetrics;
  readonly #log: Log;

  constructor(options: {
    conversations: Conversations;
    relay: Relay;
    metrics: ServerMetrics;
    log: Log;
  }) {
    this.#conversations = options.conversations;
    this.#relay = options.relay;
    this.#metrics = options.metrics;
    this.#log = options.log;
  }

  /** One signal. Throws CONVERSATION_NOT_FOUND, UNAVAILABLE. */
  async one(signal: TypingSignal): Promise<void> {
    const { conversationId, senderId: userId } = signal;
    const conversation = await this.#conversations.ofMember({ conversationId, userId });
    if (conversation === undefined) {
      throw fail(ErrorReason.CONVERSATION_NOT_FOUND, "no such conversation");
    }
    this.#relay.signal([typingSignal(signal, conversation)]);
  }

  /** Many signals. Those of strangers are dropped, and all whose conversation cannot be read. */
  async many(signals: readonly TypingSignal[]): Promise<void> {
    const unknown = signals.filter((signal) => this.#of(signal) === undefined);
    let fresh: ReadonlyMap<string, Conversation> = new Map();
    try {
      if (unknown.length > 0) {
        fresh = await this.#conversations.read(
          unknown.map(({ conversationId, senderId: userId }) => ({ conversationId, userId })),
        );
      }
    } catch (error) {
      this.#log.debug({ event: "typing_dropped", err: error });
    }
    const passed = signals.flatMap((signal) => {
      const read = fresh.get(signal.conversationId);
      const conversation = read?.memberships.has(signal.senderId) ? read : this.#of(signal);
      return conversation === undefined ? [] : [typingSignal(signal, conversation)];
    });
    this.#metrics.signals("dropped", signals.length - passed.length);
    this.#relay.signal(passed);
  }

  #of({ conversationId, senderId }: TypingSignal): Conversation | undefined {
    return this.#conversations.recent({ conversationId, userId: senderId });
  }
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
