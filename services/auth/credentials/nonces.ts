import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock } from "#platform/clock.ts";
import type { AuthConfig } from "../config.ts";
import type { Database } from "../database.ts";
import type { Keyring } from "../keys/keyring.ts";
import { activeKey, type SecretKey } from "../keys/keys.ts";

/**
 * Single-use nonces of password ciphertexts, against replay. Issuing stores nothing: a nonce
 * carries its expiry and an HMAC under the shared key. Using a nonce stores its hash, so that a
 * second use fails.
 */
export interface Nonces {
  /** A new nonce: 16 random bytes, 8 bytes of expiry, 16 bytes of an HMAC. */
  issue(): { nonce: Uint8Array<ArrayBuffer>; expiresAtMs: number };
  /** Uses a nonce. False when it is forged, expired or already used. */
  use(nonce: Uint8Array): Promise<boolean>;
  /** Deletes used nonces that have been expired for an hour. */
  deleteExpired(): Promise<void>;
}

const RANDOM_BYTES = 16;
const HEAD_BYTES = RANDOM_BYTES + 8;
const MAC_BYTES = 16;
export const NONCE_BYTES = HEAD_BYTES + MAC_BYTES;

/**
 * A used nonce stays stored this long after it expired: an instance with a slow clock still accepts
 * it.
 */
const KEEP_EXPIRED_MS = 3_600_000;

export function createNonces({
  config,
  database,
  keyring,
  clock,
}: {
  config: Pick<AuthConfig, "nonceSeconds">;
  database: Database;
  keyring: Pick<Keyring, "keys">;
  clock: Clock;
}): Nonces {
  const macOf = ({ secret }: SecretKey, head: Uint8Array) =>
    createHmac("sha256", secret).update("auth.nonce ").update(head).digest().subarray(0, MAC_BYTES);

  function isAuthentic(nonce: Uint8Array): boolean {
    if (nonce.length !== NONCE_BYTES) return false;
    const head = nonce.subarray(0, HEAD_BYTES);
    const mac = nonce.subarray(HEAD_BYTES);
    return keyring.keys.code.some((key) => timingSafeEqual(macOf(key, head), mac));
  }

  return {
    issue() {
      const now = clock.now();
      const expiresAtMs = now + config.nonceSeconds * 1_000;
      const head = Buffer.alloc(HEAD_BYTES);
      randomBytes(RANDOM_BYTES).copy(head);
      head.writeBigUInt64BE(BigInt(expiresAtMs), RANDOM_BYTES);
      const mac = macOf(activeKey(keyring.keys.code, now), head);
      return { nonce: new Uint8Array(Buffer.concat([head, mac])), expiresAtMs };
    },
    async use(nonce) {
      if (!isAuthentic(nonce)) return false;
      const head = Buffer.from(nonce.subarray(0, HEAD_BYTES));
      const expiresAtMs = Number(head.readBigUInt64BE(RANDOM_BYTES));
      if (expiresAtMs <= clock.now()) return false;
      const nonceHash = new Uint8Array(createHash("sha256").update(nonce).digest());
      // Requests with the same nonce race for one row, on all instances; one of them wins.
      const used = { nonceHash, expiresAt: new Date(expiresAtMs) };
      const { count } = await database.usedNonce.createMany({ data: [used], skipDuplicates: true });
      return count === 1;
    },
    async deleteExpired() {
      const before = new Date(clock.now() - KEEP_EXPIRED_MS);
      await database.usedNonce.deleteMany({ where: { expiresAt: { lt: before } } });
    },
  };
}
