import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { AuthDependencies } from "../dependencies.ts";
import { activeKey } from "../keys/keys.ts";

/** Hands out the key under which passwords travel, and a nonce for it. */
export function createPublicKeys({
  clock,
  keyring,
  nonces,
}: Pick<AuthDependencies, "clock" | "keyring" | "nonces">): Pick<
  ServiceImpl<typeof AuthService>,
  "getPublicKey"
> {
  return {
    getPublicKey() {
      const nowMs = clock.now();
      const { keyId, publicKey } = activeKey(keyring.keys.password, nowMs);
      const { nonce, expiresAtMs } = nonces.issue();
      return {
        keyId,
        algorithm: "RSA-OAEP-SHA256",
        spki: new Uint8Array(publicKey.export({ type: "spki", format: "der" })),
        jwkJson: JSON.stringify({
          ...publicKey.export({ format: "jwk" }),
          kid: keyId,
          alg: "RSA-OAEP-256",
          use: "enc",
        }),
        nonce,
        nonceExpiresAtMs: BigInt(expiresAtMs),
        serverTimeMs: BigInt(nowMs),
      };
    },
  };
}
