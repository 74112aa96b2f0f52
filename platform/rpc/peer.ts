import { createContextKey } from "@connectrpc/connect";

/** Header in which our own services name the address that a call first came from. */
export const PEER_HEADER = "lucky-peer";

/**
 * Address that a call came from, without the port: the device's own, also behind the gateway.
 * Undefined for calls that began in the same process.
 */
export const peerAddress = createContextKey<string | undefined>(undefined, {
  description: "peer address",
});
