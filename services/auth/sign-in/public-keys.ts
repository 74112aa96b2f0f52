import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Nonces } from "../credentials/nonces.ts";
import type { Keyring } from "../keys/keyring.ts";
import { activeKey } from "../keys/keys.ts";
import type { AccessTokens } from "../logins/tokens.ts";

/** Publishes the key that encrypts passwords and the key set that verifies access tokens. */
export function createPublicKeys({
  accessTokens,
  clock,
  keyring,
  log,
  nonces,
}: {
  accessTokens: Pick<AccessTokens, "jwksJson">;
  clock: Clock;
  keyring: Pick<Keyring, "keys" | "reloadIfChanged">;
  log: Log;
  nonces: Pick<Nonces, "issue">;
}): Pick<ServiceImpl<typeof AuthService>, "getPublicKey" | "getJwks"> {
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

    async getJwks() {
      // Check the cached keys first: another instance may have just created a key, and the caller
      // may have a token signed with it. While the database is down, the cached keys are served.
      await keyring
        .reloadIfChanged()
        .catch((err: unknown) => log.warn({ event: "key_check_failed", err }));
      return { jwksJson: accessTokens.jwksJson };
    },
  };
}
