import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

const ALGORITHM = "aes-256-gcm";
export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Bytes that encryption adds to a plaintext. */
export const OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES;

/**
 * Encrypts with AES-256-GCM under a random nonce. `key` is 32 bytes. Returns nonce (12 bytes),
 * ciphertext and tag (16 bytes). Decryption needs the same additional data.
 */
export function encryptAesGcm(
  key: Buffer,
  plaintext: Uint8Array,
  additionalData: string,
): Uint8Array<ArrayBuffer> {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(
    Buffer.from(additionalData),
  );
  return new Uint8Array(
    Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]),
  );
}

/**
 * Decrypts the output of `encryptAesGcm`. Throws when the key, the additional data or the bytes
 * differ from those of the encryption.
 */
export function decryptAesGcm(key: Buffer, encrypted: Uint8Array, additionalData: string): Buffer {
  const nonce = encrypted.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(Buffer.from(additionalData))
    .setAuthTag(encrypted.subarray(encrypted.length - TAG_BYTES));
  const plaintext = decipher.update(encrypted.subarray(NONCE_BYTES, encrypted.length - TAG_BYTES));
  return Buffer.concat([plaintext, decipher.final()]);
}
