import { create, toBinary } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  AcknowledgeResponseSchema,
  type MessageService,
  SendRequestSchema,
  SendResponseSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { spanKey } from "#platform/tracing/traces.ts";
import { listEntries, listReceipts } from "./catch-up/history.ts";
import { syncPage } from "./catch-up/sync.ts";
import { refusalError } from "./conversations/refusal.ts";
import { throwFirst } from "./log/logs.ts";
import type { Sends } from "./sending/sends.ts";
import { advanceCursors, type ReceiptDependencies } from "./signals/receipts.ts";

export interface MessageDependencies extends ReceiptDependencies {
  readonly sends: Sends;
  /** Throws UNAVAILABLE while the instance stops. */
  readonly mustServe: () => void;
}

/** Implements MessageService: users send, read, acknowledge and catch up. */
export function messageService(
  dependencies: MessageDependencies,
): ServiceImpl<typeof MessageService> {
  const { sends, logs, mustServe } = dependencies;
  return {
    async send(request, context) {
      mustServe();
      const { userId: senderId } = userOf(context);
      // The log stores bytes, and a request in JSON has none: they are encoded here, once.
      const send = toBinary(SendRequestSchema, request);
      const one = { senderId, sessionId: "", send, request };
      const [result] = await sends.append([one], context.values.get(spanKey));
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
    async forward() {
      throw new Error("not built yet");
    },
    async listEntries(request, context) {
      mustServe();
      return listEntries(logs, { userId: userOf(context).userId, request });
    },
    async sync(request, context) {
      mustServe();
      return syncPage(logs, { userId: userOf(context).userId, request });
    },
    async acknowledge({ cursors }, context) {
      mustServe();
      const { userId } = userOf(context);
      const failures = await advanceCursors(
        dependencies,
        cursors.map(({ conversationId, deliveredSequence, readSequence, epoch }) => ({
          userId,
          conversationId,
          deliveredSequence: Number(deliveredSequence),
          readSequence: Number(readSequence),
          undeliveredSequence: 0,
          epoch,
        })),
      );
      throwFirst(failures);
      return create(AcknowledgeResponseSchema);
    },
    async listReceipts(request, context) {
      mustServe();
      return listReceipts(logs, { userId: userOf(context).userId, request });
    },
  };
}
