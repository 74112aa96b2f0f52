import { createContextKey } from "@connectrpc/connect";

/** Header in which our own services forward the address of the original caller. */
export const PEER_HEADER = "lucky-peer";

/**
 * Address of the caller, without the port. Behind the gateway, it is still the device's address.
 * Undefined for calls that began in the same process.
 */
export const peerAddress = createContextKey<string | undefined>(undefined, {
  description: "peer address",
});
