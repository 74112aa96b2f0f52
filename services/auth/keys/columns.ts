import { createHmac } from "node:crypto";
import type { Clock } from "#platform/clock.ts";
import type { Keyring } from "./keyring.ts";
import { activeKey, KEY_ID_BYTES, keyIdBytes, type SecretKey } from "./keys.ts";
import { openUnder, sealUnder } from "./sealing.ts";

/** Which value of which row: a value that somebody moved elsewhere does not open. */
export interface Place {
  /** Such as "account.phone". */
  readonly column: string;
  /** The row's key, decimal or hexadecimal. */
  readonly row: string;
}

/** Seals the personal columns of the tables, and makes what they are found by. */
export interface Columns {
  /** The text under the active data key: the key's id (16 bytes), nonce, ciphertext, tag. */
  seal(text: string, place: Place): Uint8Array<ArrayBuffer>;
  /** Throws when it was sealed for another place, or its key is gone. */
  open(sealed: Uint8Array, place: Place): string;
  /** Whether the value was sealed under the active data key; else it is to be sealed again. */
  isCurrent(sealed: Uint8Array): boolean;
  /**
   * What a value is stored and unique by: the active index key's id (16 bytes), HMAC-SHA256 under it.
   */
  index(text: string, column: string): Uint8Array<ArrayBuffer>;
  /** All indexes that a value may be stored by right now, the active key's first: look for any. */
  indexes(text: string, column: string): Uint8Array<ArrayBuffer>[];
}

export function createColumns({ keyring, clock }: { keyring: Keyring; clock: Clock }): Columns {
  const dataKey = () => activeKey(keyring.keys.data, clock.now());
  const words = ({ column, row }: Place) => `auth.${column} ${row}`;
  const indexUnder = ({ keyId, secret }: SecretKey, text: string, column: string) => {
    const mac = createHmac("sha256", secret).update(`auth.${column}\n${text}`).digest();
    return new Uint8Array(Buffer.concat([keyIdBytes(keyId), mac]));
  };

  return {
    seal(text, place) {
      const { keyId, secret } = dataKey();
      const sealed = sealUnder(secret, Buffer.from(text), words(place));
      return new Uint8Array(Buffer.concat([keyIdBytes(keyId), sealed]));
    },
    open(sealed, place) {
      const id = Buffer.from(sealed.subarray(0, KEY_ID_BYTES));
      const key = keyring.keys.data.find(({ keyId }) => keyIdBytes(keyId).equals(id));
      if (!key) throw new Error(`the data key of ${place.column} is not there (any more)`);
      return openUnder(key.secret, sealed.subarray(KEY_ID_BYTES), words(place)).toString();
    },
    isCurrent: (sealed) => keyIdBytes(dataKey().keyId).equals(sealed.subarray(0, KEY_ID_BYTES)),
    index: (text, column) => indexUnder(activeKey(keyring.keys.index, clock.now()), text, column),
    indexes(text, column) {
      const active = activeKey(keyring.keys.index, clock.now());
      const others = keyring.keys.index.filter((key) => key !== active);
      return [active, ...others].map((key) => indexUnder(key, text, column));
    },
  };
}
