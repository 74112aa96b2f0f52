import { createContextKey } from "@connectrpc/connect";

/** Address that a call came from, without the port; undefined for calls in the same process. */
export const peerAddress = createContextKey<string | undefined>(undefined, {
  description: "peer address",
});
