import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { EndpointService } from "#gen/lucky/frame/v1/frame_pb.js";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import type { Hints } from "./hint.ts";
import type { Placement } from "./placement.ts";

/** Path of the WebSocket, on the gateway and on connect. */
export const SOCKET_PATH = "/ws";

/** Answers with the URL of the best WebSocket for the caller. */
export function endpointService(options: {
  placement: Placement;
  hints: Hints;
}): ServiceImpl<typeof EndpointService> {
  const { placement, hints } = options;
  return {
    async resolveEndpoint(_request, context) {
      const { userId } = userOf(context);
      const [best] = await placement.order(await placement.whereIs(userId));
      if (!best) {
        throw fail(ErrorReason.UNAVAILABLE, "no connect instance is running", {
          retryAfterMs: 1_000,
        });
      }
      const url = best.publicAddress
        ? socketUrl(best.publicAddress)
        : `${SOCKET_PATH}?hint=${hints.seal(best.instanceId)}`;
      return { url };
    },
  };
}

/** "https://chat.example:19000" → "wss://chat.example:19000/ws"; keeps a path other than "/". */
function socketUrl(publicAddress: string): string {
  const url = new URL(publicAddress);
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
  if (url.pathname === "/") url.pathname = SOCKET_PATH;
  return url.href;
}
