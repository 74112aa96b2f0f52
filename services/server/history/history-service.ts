import type { ServiceImpl } from "@connectrpc/connect";
import type { HistoryService } from "#gen/lucky/message/v1/history_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import type { Logs } from "../log/logs.ts";
import { listMessages } from "./message-pages.ts";
import {
  getMessages,
  listChangedMessages,
  listPins,
  listReactions,
  listRevisions,
} from "./messages.ts";

/** Implements HistoryService: messages as people see them. */
export function historyService({
  logs,
  mustServe,
}: {
  readonly logs: Logs;
  /** Throws UNAVAILABLE while the instance stops. */
  readonly mustServe: () => void;
}): ServiceImpl<typeof HistoryService> {
  return {
    async listMessages(request, context) {
      mustServe();
      return listMessages(logs, { userId: userOf(context).userId, request });
    },
    async getMessages(request, context) {
      mustServe();
      return getMessages(logs, { userId: userOf(context).userId, request });
    },
    async listChangedMessages(request, context) {
      mustServe();
      return listChangedMessages(logs, { userId: userOf(context).userId, request });
    },
    async listRevisions(request, context) {
      mustServe();
      return listRevisions(logs, { userId: userOf(context).userId, request });
    },
    async listReactions(request, context) {
      mustServe();
      return listReactions(logs, { userId: userOf(context).userId, request });
    },
    async listPins(request, context) {
      mustServe();
      return listPins(logs, { userId: userOf(context).userId, request });
    },
  };
}
