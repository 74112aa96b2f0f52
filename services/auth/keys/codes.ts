import { createHmac, randomInt, timingSafeEqual } from "node:crypto";
import type { Clock } from "#platform/clock.ts";
import type { Keyring } from "./keyring.ts";
import { activeKey, KEY_ID_BYTES, keyIdBytes } from "./keys.ts";

/** Generates short codes, and hashes them so that the database alone does not reveal them. */
export interface Codes {
  /** Six random digits. */
  make(): string;
  /** The hash to store: the key's id (16 bytes) and an HMAC over code and context. */
  hash(code: string, context: string): Uint8Array<ArrayBuffer>;
  /** Whether the hash belongs to the code in this context. Compares in constant time. */
  matches(stored: Uint8Array, code: string, context: string): boolean;
}

/**
 * The hashes are keyed: without the key, an attacker cannot test all million codes against a hash.
 */
export function createCodes({ keyring, clock }: { keyring: Keyring; clock: Clock }): Codes {
  const mac = (secret: Buffer, code: string, context: string) =>
    createHmac("sha256", secret).update(`auth.code ${context}\n${code}`).digest();
  return {
    make: () => String(randomInt(1_000_000)).padStart(6, "0"),
    hash(code, context) {
      const { keyId, secret } = activeKey(keyring.keys.code, clock.now());
      return new Uint8Array(Buffer.concat([keyIdBytes(keyId), mac(secret, code, context)]));
    },
    matches(stored, code, context) {
      const id = Buffer.from(stored.subarray(0, KEY_ID_BYTES));
      const key = keyring.keys.code.find(({ keyId }) => keyIdBytes(keyId).equals(id));
      if (!key) return false;
      const expected = mac(key.secret, code, context);
      const actual = stored.subarray(KEY_ID_BYTES);
      return actual.length === expected.length && timingSafeEqual(actual, expected);
    },
  };
}
