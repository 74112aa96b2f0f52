import { create, toBinary } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  AcceptedSchema,
  AcknowledgeResponseSchema,
  ForwardResponseSchema,
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
import { type ForwardDependencies, forward } from "./sending/forward.ts";
import type { Accepted } from "./sending/outcome.ts";
import { advanceCursors, type ReceiptDependencies } from "./signals/receipts.ts";

export interface MessageDependencies extends ReceiptDependencies, ForwardDependencies {
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
      return create(SendResponseSchema, { accepted: acceptedOf(outcome) });
    },
    async forward(request, context) {
      mustServe();
      const { userId: callerId } = userOf(context);
      const span = context.values.get(spanKey);
      const positions = await forward(dependencies, { callerId, request, span });
      return create(ForwardResponseSchema, { accepted: positions.map(acceptedOf) });
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

/** A position as a message of the contract. */
function acceptedOf({ conversationId, sequence, acceptedAtMs, messageId }: Accepted) {
  return create(AcceptedSchema, {
    conversationId: String(conversationId),
    sequence: BigInt(sequence),
    acceptedAtMs: BigInt(acceptedAtMs),
    messageId: String(messageId),
  });
}
