import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

/** The upgrade to WebSocket that a proof is valid for. */
export interface Upgrade {
  /** Address of the device, without its port. */
  readonly address: string;
  /** The device's Sec-WebSocket-Key. */
  readonly key: string;
}

/** Proves to connect that the address of a WebSocket comes from the gateway, not from a device. */
export interface PeerProof {
  /** The value of the header `lucky-peer` that the gateway sends, proved with its first secret. */
  prove(upgrade: Upgrade): string;
  /** The address in a header; undefined unless the gateway wrote the header for this upgrade. */
  read(header: string, key: string): string | undefined;
}

/**
 * The proof is an HMAC over address and key, keyed with the gateway's secret. A device can reach
 * connect's port directly and send any header, but it never sees a proof. During a rotation, a proof
 * by any of the secrets is valid. Without a secret, no header is valid.
 */
export function createPeerProof(secrets: readonly string[]): PeerProof {
  const macKeys = secrets.map((secret) =>
    Buffer.from(hkdfSync("sha256", secret, "", "lucky socket peer", 32)),
  );
  const mac = (macKey: Buffer, { address, key }: Upgrade) =>
    createHmac("sha256", macKey).update(`${key}\n${address}`).digest();
  return {
    prove(upgrade) {
      const [first] = macKeys;
      if (first === undefined) throw new Error("a proof needs the gateway's secret");
      return `${upgrade.address} ${mac(first, upgrade).toString("base64url")}`;
    },
    read(header, key) {
      const [address, given, ...rest] = header.split(" ");
      if (!address || !given || rest.length > 0) return undefined;
      const presented = Buffer.from(given, "base64url");
      const proved = macKeys.some((macKey) => {
        const expected = mac(macKey, { address, key });
        return presented.length === expected.length && timingSafeEqual(presented, expected);
      });
      return proved ? address : undefined;
    },
  };
}
