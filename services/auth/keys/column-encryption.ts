import { createHmac } from "node:crypto";
import { decryptAesGcm, encryptAesGcm } from "#platform/aes-gcm.ts";
import type { Clock } from "#platform/clock.ts";
import type { Keyring } from "./keyring.ts";
import { activeKey, KEY_ID_BYTES, keyIdBytes, type SecretKey } from "./keys.ts";

/**
 * One cell of a table. It is the additional data of AES-GCM: a value that was copied to another cell
 * does not decrypt.
 */
export interface Cell {
  /** Table and column, such as "account.phone". */
  readonly column: string;
  /** The row's key, decimal or hexadecimal. */
  readonly row: string;
}

/** Encrypts the personal columns of the tables, and computes blind indexes to look them up by. */
export interface ColumnEncryption {
  /** Encrypts under the active data key. Returns key id (16 bytes), nonce, ciphertext, tag. */
  encrypt(text: string, cell: Cell): Uint8Array<ArrayBuffer>;
  /** Throws when the value was encrypted for another cell, or its key was deleted. */
  decrypt(encrypted: Uint8Array, cell: Cell): string;
  /** Whether the value is encrypted under the active data key. If not, it must be re-encrypted. */
  isCurrent(encrypted: Uint8Array): boolean;
  /**
   * The blind index of a value, for look-ups and unique constraints: id of the active index key (16
   * bytes), HMAC-SHA256 under that key.
   */
  blindIndex(text: string, column: string): Uint8Array<ArrayBuffer>;
  /**
   * The blind indexes of a value under every index key, the active key first. Look-ups must accept
   * any of them: after a rotation some rows still have the index of the previous key.
   */
  blindIndexes(text: string, column: string): Uint8Array<ArrayBuffer>[];
}

export function createColumnEncryption({
  keyring,
  clock,
}: {
  keyring: Keyring;
  clock: Clock;
}): ColumnEncryption {
  const activeDataKey = () => activeKey(keyring.keys.data, clock.now());
  const additionalDataOf = ({ column, row }: Cell) => `auth.${column} ${row}`;
  const blindIndexUnder = ({ keyId, secret }: SecretKey, text: string, column: string) => {
    const mac = createHmac("sha256", secret).update(`auth.${column}\n${text}`).digest();
    return new Uint8Array(Buffer.concat([keyIdBytes(keyId), mac]));
  };

  return {
    encrypt(text, cell) {
      const { keyId, secret } = activeDataKey();
      const encrypted = encryptAesGcm(secret, Buffer.from(text), additionalDataOf(cell));
      return new Uint8Array(Buffer.concat([keyIdBytes(keyId), encrypted]));
    },
    decrypt(encrypted, cell) {
      const id = Buffer.from(encrypted.subarray(0, KEY_ID_BYTES));
      const key = keyring.keys.data.find(({ keyId }) => keyIdBytes(keyId).equals(id));
      if (!key) throw new Error(`the data key of ${cell.column} does not exist`);
      const value = encrypted.subarray(KEY_ID_BYTES);
      return decryptAesGcm(key.secret, value, additionalDataOf(cell)).toString();
    },
    isCurrent: (encrypted) =>
      keyIdBytes(activeDataKey().keyId).equals(encrypted.subarray(0, KEY_ID_BYTES)),
    blindIndex: (text, column) =>
      blindIndexUnder(activeKey(keyring.keys.index, clock.now()), text, column),
    blindIndexes(text, column) {
      const active = activeKey(keyring.keys.index, clock.now());
      const others = keyring.keys.index.filter((key) => key !== active);
      return [active, ...others].map((key) => blindIndexUnder(key, text, column));
    },
  };
}
