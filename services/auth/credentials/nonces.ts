import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock } from "#platform/clock.ts";
import type { AuthConfig } from "../config.ts";
import type { Database } from "../database.ts";
import type { Keyring } from "../keys/keyring.ts";
import { activeKey, type SecretKey } from "../keys/keys.ts";

/**
 * Nonces of password ciphertexts. Handing one out stores nothing: it carries its time and a code by
 * the shared key. Using one stores it until it expires, so that it is used once.
 */
export interface Nonces {
  /** A fresh one: 16 random bytes, 8 of its expiry, 16 of an HMAC. */
  issue(): { nonce: Uint8Array<ArrayBuffer>; expiresAtMs: number };
  /** Uses one up. False when it is not ours, expired or used. */
  use(nonce: Uint8Array): Promise<boolean>;
  /** Deletes what can never come again. */
  deleteExpired(): Promise<void>;
}

const RANDOM_BYTES = 16;
const HEAD_BYTES = RANDOM_BYTES + 8;
const CODE_BYTES = 16;
export const NONCE_BYTES = HEAD_BYTES + CODE_BYTES;

/** A used nonce is remembered for longer than it is good, for instances whose clock is late. */
const REMEMBER_MS = 3_600_000;

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
  const codeOf = ({ secret }: SecretKey, head: Uint8Array) =>
    createHmac("sha256", secret)
      .update("auth.nonce ")
      .update(head)
      .digest()
      .subarray(0, CODE_BYTES);

  function ours(nonce: Uint8Array): boolean {
    if (nonce.length !== NONCE_BYTES) return false;
    const head = nonce.subarray(0, HEAD_BYTES);
    const code = nonce.subarray(HEAD_BYTES);
    return keyring.keys.code.some((key) => timingSafeEqual(codeOf(key, head), code));
  }

  return {
    issue() {
      const now = clock.now();
      const expiresAtMs = now + config.nonceSeconds * 1_000;
      const head = Buffer.alloc(HEAD_BYTES);
      randomBytes(RANDOM_BYTES).copy(head);
      head.writeBigUInt64BE(BigInt(expiresAtMs), RANDOM_BYTES);
      const code = codeOf(activeKey(keyring.keys.code, now), head);
      return { nonce: new Uint8Array(Buffer.concat([head, code])), expiresAtMs };
    },
    async use(nonce) {
      if (!ours(nonce)) return false;
      const head = Buffer.from(nonce.subarray(0, HEAD_BYTES));
      const expiresAtMs = Number(head.readBigUInt64BE(RANDOM_BYTES));
      if (expiresAtMs <= clock.now()) return false;
      const nonceHash = new Uint8Array(createHash("sha256").update(nonce).digest());
      // Of two that present it at once, on whatever instances, one gets the row.
      const used = { nonceHash, expiresAt: new Date(expiresAtMs) };
      const { count } = await database.usedNonce.createMany({ data: [used], skipDuplicates: true });
      return count === 1;
    },
    async deleteExpired() {
      const before = new Date(clock.now() - REMEMBER_MS);
      await database.usedNonce.deleteMany({ where: { expiresAt: { lt: before } } });
    },
  };
}
