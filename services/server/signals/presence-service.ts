import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type PresenceService,
  SendTypingResponseSchema,
} from "#gen/lucky/presence/v1/presence_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { publishTyping, type TypingDependencies } from "./typing.ts";

/** Implements PresenceService: typing signals of users. */
export function presenceService(
  dependencies: TypingDependencies & {
    /** Throws UNAVAILABLE while the instance stops. */
    readonly mustServe: () => void;
  },
): ServiceImpl<typeof PresenceService> {
  return {
    async sendTyping({ conversationId, typing }, context) {
      dependencies.mustServe();
      const { userId: senderId } = userOf(context);
      await publishTyping(dependencies, { senderId, conversationId, typing });
      return create(SendTypingResponseSchema);
    },
  };
}
