import { createHmac } from "node:crypto";
import type { Clock } from "#platform/clock.ts";
import { decryptAesGcm, encryptAesGcm } from "./key-encryption.ts";
import type { Keyring } from "./keyring.ts";
import { activeKey, KEY_ID_BYTES, keyIdBytes, type SecretKey } from "./keys.ts";

/** Which value of which row: a value that somebody moved elsewhere does not open. */
export interface Cell {
  /** Such as "account.phone". */
  readonly column: string;
  /** The row's key, decimal or hexadecimal. */
  readonly row: string;
}

/** Seals the personal columns of the tables, and makes what they are found by. */
export interface ColumnEncryption {
  /** The text under the active data key: the key's id (16 bytes), nonce, ciphertext, tag. */
  encrypt(text: string, place: Cell): Uint8Array<ArrayBuffer>;
  /** Throws when it was sealed for another place, or its key is gone. */
  decrypt(sealed: Uint8Array, place: Cell): string;
  /** Whether the value was sealed under the active data key; else it is to be sealed again. */
  isCurrent(sealed: Uint8Array): boolean;
  /**
   * What a value is stored and unique by: the active index key's id (16 bytes), HMAC-SHA256 under it.
   */
  blindIndex(text: string, column: string): Uint8Array<ArrayBuffer>;
  /** All indexes that a value may be stored by right now, the active key's first: look for any. */
  blindIndexes(text: string, column: string): Uint8Array<ArrayBuffer>[];
}

export function createColumnEncryption({
  keyring,
  clock,
}: {
  keyring: Keyring;
  clock: Clock;
}): ColumnEncryption {
  const dataKey = () => activeKey(keyring.keys.data, clock.now());
  const words = ({ column, row }: Cell) => `auth.${column} ${row}`;
  const indexUnder = ({ keyId, secret }: SecretKey, text: string, column: string) => {
    const mac = createHmac("sha256", secret).update(`auth.${column}\n${text}`).digest();
    return new Uint8Array(Buffer.concat([keyIdBytes(keyId), mac]));
  };

  return {
    encrypt(text, place) {
      const { keyId, secret } = dataKey();
      const sealed = encryptAesGcm(secret, Buffer.from(text), words(place));
      return new Uint8Array(Buffer.concat([keyIdBytes(keyId), sealed]));
    },
    decrypt(sealed, place) {
      const id = Buffer.from(sealed.subarray(0, KEY_ID_BYTES));
      const key = keyring.keys.data.find(({ keyId }) => keyIdBytes(keyId).equals(id));
      if (!key) throw new Error(`the data key of ${place.column} is not there (any more)`);
      return decryptAesGcm(key.secret, sealed.subarray(KEY_ID_BYTES), words(place)).toString();
    },
    isCurrent: (sealed) => keyIdBytes(dataKey().keyId).equals(sealed.subarray(0, KEY_ID_BYTES)),
    blindIndex: (text, column) =>
      indexUnder(activeKey(keyring.keys.index, clock.now()), text, column),
    blindIndexes(text, column) {
      const active = activeKey(keyring.keys.index, clock.now());
      const others = keyring.keys.index.filter((key) => key !== active);
      return [active, ...others].map((key) => indexUnder(key, text, column));
    },
  };
}
