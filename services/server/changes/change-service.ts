import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type ChangeService,
  DeleteForMeResponseSchema,
  PinMessageResponseSchema,
  UnpinMessageResponseSchema,
} from "#gen/lucky/message/v1/change_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import type { ChangeDependencies } from "./change.ts";
import { deleteForMe } from "./deletions.ts";
import { editMessage } from "./edits.ts";
import { pinMessage, unpinMessage } from "./pins.ts";
import type { Reactions } from "./reactions.ts";
import { recallMessages } from "./recalls.ts";

/** Implements ChangeService: users change messages that were sent. */
export function changeService(
  dependencies: ChangeDependencies & {
    readonly reactions: Reactions;
    /** Throws UNAVAILABLE while the instance stops. */
    readonly mustServe: () => void;
  },
): ServiceImpl<typeof ChangeService> {
  const { logs, reactions, mustServe } = dependencies;
  return {
    async editMessage(request, context) {
      mustServe();
      return editMessage(dependencies, request, userOf(context).userId);
    },
    async recallMessages(request, context) {
      mustServe();
      return recallMessages(dependencies, request, userOf(context).userId);
    },
    async setReactions(request, context) {
      mustServe();
      return reactions.set(request, userOf(context).userId);
    },
    async pinMessage({ conversationId, sequence }, context) {
      mustServe();
      const { userId } = userOf(context);
      const changedSequence = await pinMessage(dependencies, { conversationId, sequence, userId });
      return create(PinMessageResponseSchema, { changedSequence });
    },
    async unpinMessage({ conversationId, sequence }, context) {
      mustServe();
      const { userId } = userOf(context);
      const changedSequence = await unpinMessage(dependencies, {
        conversationId,
        sequence,
        userId,
      });
      return create(UnpinMessageResponseSchema, { changedSequence });
    },
    async deleteForMe(request, context) {
      mustServe();
      await deleteForMe(logs, request, userOf(context).userId);
      return create(DeleteForMeResponseSchema);
    },
  };
}
