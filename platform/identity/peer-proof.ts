import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

/** What a proof is good for: one upgrade to WebSocket. */
export interface Upgrade {
  /** Address of the device, without the port. */
  readonly address: string;
  /** The device's Sec-WebSocket-Key. */
  readonly key: string;
}

/** Lets connect believe the gateway where a WebSocket comes from. */
export interface PeerProof {
  /** What the gateway writes into the header `lucky-peer`. */
  prove(upgrade: Upgrade): string;
  /** The address that a header names; undefined unless the gateway wrote it for this upgrade. */
  read(header: string, key: string): string | undefined;
}

/**
 * The proof is an HMAC under the mesh secret over address and key. Devices reach connect's port too,
 * and may write any header; but none ever sees a proof. Without a secret nobody is believed.
 */
export function createPeerProof(secret: string): PeerProof {
  const under = Buffer.from(hkdfSync("sha256", secret, "", "lucky socket peer", 32));
  const mac = ({ address, key }: Upgrade) =>
    createHmac("sha256", under).update(`${key}\n${address}`).digest();
  return {
    prove: (upgrade) => `${upgrade.address} ${mac(upgrade).toString("base64url")}`,
    read(header, key) {
      const [address, given, ...rest] = header.split(" ");
      if (secret === "" || !address || !given || rest.length > 0) return undefined;
      const right = mac({ address, key });
      const presented = Buffer.from(given, "base64url");
      const same = presented.length === right.length && timingSafeEqual(presented, right);
      return same ? address : undefined;
    },
  };
}
