import { createHmac, randomInt, timingSafeEqual } from "node:crypto";
import type { Clock } from "#platform/clock.ts";
import type { Keyring } from "./keyring.ts";
import { activeKey, KEY_ID_BYTES, keyIdBytes } from "./keys.ts";

/** Makes short codes, and hashes them so that the database alone does not give them away. */
export interface Codes {
  /** Six random digits. */
  make(): string;
  /** What is stored of a code: the key's id (16 bytes) and an HMAC over code and context. */
  hash(code: string, context: string): Uint8Array<ArrayBuffer>;
  /** Whether the hash is that of the code in the context. Takes as long either way. */
  matches(stored: Uint8Array, code: string, context: string): boolean;
}

/** Without the key, the million codes cannot be tried against a hash. */
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
      const right = mac(key.secret, code, context);
      const given = stored.subarray(KEY_ID_BYTES);
      return given.length === right.length && timingSafeEqual(given, right);
    },
  };
}
