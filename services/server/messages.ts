import { create, toBinary } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  AcknowledgeResponseSchema,
  ListReceiptsResponseSchema,
  type MessageService,
  SendRequestSchema,
  SendResponseSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import type { History } from "./catch-up/history.ts";
import type { Sync } from "./catch-up/sync.ts";
import { refusalError } from "./conversations/refusal.ts";
import type { Sends } from "./sending/sends.ts";
import type { Receipts } from "./signals/receipts.ts";

export interface MessageParts {
  readonly sends: Sends;
  readonly receipts: Receipts;
  readonly history: History;
  readonly sync: Sync;
  /** Throws UNAVAILABLE when nothing new is taken on. */
  readonly mustServe: () => void;
}

/** What users call to send, read, acknowledge and catch up. */
export function messageService(parts: MessageParts): ServiceImpl<typeof MessageService> {
  const { sends, receipts, history, sync, mustServe } = parts;
  return {
    async send(request, context) {
      mustServe();
      const { userId: senderId } = userOf(context);
      const raw = { senderId, sessionId: "", send: toBinary(SendRequestSchema, request) };
      const [result] = await sends.append([raw]);
      const { outcome } = result!;
      if (outcome.kind === "failed") throw outcome.error;
      if (outcome.kind === "refused") throw refusalError(outcome.refusal);
      const { conversationId, sequence, acceptedAtMs, messageId } = outcome;
      return create(SendResponseSchema, {
        accepted: {
          conversationId: String(conversationId),
          sequence: BigInt(sequence),
          acceptedAtMs: BigInt(acceptedAtMs),
          messageId: String(messageId),
        },
      });
    },
    async listEntries(request, context) {
      mustServe();
      return history.page(userOf(context).userId, request);
    },
    async sync(request, context) {
      mustServe();
      return sync.page(userOf(context).userId, request);
    },
    async acknowledge({ cursors }, context) {
      mustServe();
      const { userId } = userOf(context);
      await receipts.advance(
        cursors.map(({ conversationId, deliveredSequence, readSequence }) => ({
          userId,
          conversationId,
          deliveredSequence: Number(deliveredSequence),
          readSequence: Number(readSequence),
          undeliveredSequence: 0,
        })),
      );
      return create(AcknowledgeResponseSchema);
    },
    async listReceipts({ conversationId }, context) {
      mustServe();
      const list = await history.receipts(userOf(context).userId, conversationId);
      return create(ListReceiptsResponseSchema, { receipts: list });
    },
  };
}
