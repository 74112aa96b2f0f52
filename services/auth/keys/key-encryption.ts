import { decryptAesGcm, encryptAesGcm, KEY_BYTES } from "#platform/aes-gcm.ts";

/** Encrypts secrets for the database under the key-encryption key. */
export interface KeyEncryption {
  /** `additionalData` names the secret. Decryption needs the same text. */
  encrypt(secret: Uint8Array, additionalData: string): Uint8Array<ArrayBuffer>;
  /** Throws when the key, the additional data or the bytes differ from those of the encryption. */
  decrypt(encrypted: Uint8Array, additionalData: string): Buffer;
  /** Whether the secret is encrypted under the current key, not under the previous one. */
  isCurrent(encrypted: Uint8Array, additionalData: string): boolean;
}

/**
 * AES-256-GCM, in the format of `encryptAesGcm`. `key` is 32 bytes in base64. Throws for any other
 * key; the error text does not contain the key. Decryption falls back to the key `before`, unless
 * that is empty.
 */
export function createKeyEncryption(key: string, before = ""): KeyEncryption {
  const currentKey = parseKey(key, "LUCKY_AUTH_KEY_ENCRYPTION_KEY");
  const previousKey = before && parseKey(before, "LUCKY_AUTH_KEY_ENCRYPTION_KEY_BEFORE");
  return {
    encrypt: (secret, additionalData) => encryptAesGcm(currentKey, secret, additionalData),
    isCurrent(encrypted, additionalData) {
      try {
        decryptAesGcm(currentKey, encrypted, additionalData).fill(0);
        return true;
      } catch {
        return false;
      }
    },
    decrypt(encrypted, additionalData) {
      try {
        return decryptAesGcm(currentKey, encrypted, additionalData);
      } catch (error) {
        if (!previousKey) throw error;
        return decryptAesGcm(previousKey, encrypted, additionalData);
      }
    },
  };
}

function parseKey(key: string, variable: string): Buffer {
  const bytes = Buffer.from(key.trim(), "base64");
  if (bytes.length === KEY_BYTES) return bytes;
  throw new Error(
    `The key-encryption key (${variable}) must be ${KEY_BYTES} bytes in base64; ${
      key === "" ? "it is missing" : `it has ${bytes.length}`
    }. Make one with: openssl rand -base64 ${KEY_BYTES}`,
  );
}
