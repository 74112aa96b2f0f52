import { create } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  type ChangeService,
  DeleteForMeResponseSchema,
  PinMessageResponseSchema,
  UnpinMessageResponseSchema,
} from "#gen/lucky/message/v1/change_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { spanKey } from "#platform/tracing/traces.ts";
import type { ChangeDependencies } from "./change.ts";
import { deleteForMe } from "./deletions.ts";
import { editMessage } from "./edits.ts";
import { setPin } from "./pins.ts";
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

  /** The dependencies of a call: the publication of its entry is a part of its trace. */
  function tracedBy({ values }: HandlerContext): ChangeDependencies {
    const span = values.get(spanKey);
    if (span === undefined) return dependencies;
    return {
      ...dependencies,
      publish: (db, written) => dependencies.publish(db, { ...written, span }),
    };
  }

  return {
    async editMessage(request, context) {
      mustServe();
      return editMessage(tracedBy(context), request, userOf(context).userId);
    },
    async recallMessages(request, context) {
      mustServe();
      return recallMessages(tracedBy(context), request, userOf(context).userId);
    },
    async setReactions(request, context) {
      mustServe();
      return reactions.set(request, userOf(context).userId);
    },
    async pinMessage({ conversationId, sequence }, context) {
      mustServe();
      const { userId } = userOf(context);
      const pin = { conversationId, sequence, userId };
      const changedSequence = await setPin(tracedBy(context), pin, "pin");
      return create(PinMessageResponseSchema, { changedSequence });
    },
    async unpinMessage({ conversationId, sequence }, context) {
      mustServe();
      const { userId } = userOf(context);
      const pin = { conversationId, sequence, userId };
      const changedSequence = await setPin(tracedBy(context), pin, "unpin");
      return create(UnpinMessageResponseSchema, { changedSequence });
    },
    async deleteForMe(request, context) {
      mustServe();
      await deleteForMe(logs, request, userOf(context).userId);
      return create(DeleteForMeResponseSchema);
    },
  };
}
