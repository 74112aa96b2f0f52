import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { link, mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";

const ALGORITHM = "aes-256-gcm";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts what is stored, under the key-encryption key. */
export interface KeyEncryption {
  /** `about` says what is sealed; opening it takes the same words. */
  encrypt(secret: Uint8Array, about: string): Uint8Array<ArrayBuffer>;
  /** Throws when the key, the words or the bytes are not those it was sealed with. */
  decrypt(sealed: Uint8Array, about: string): Buffer;
  /** Whether it was sealed under the key, not under the one before. */
  isCurrent(sealed: Uint8Array, about: string): boolean;
}

/**
 * AES-256-GCM; sealed is nonce, ciphertext, tag. `key` is 32 bytes in base64; anything else is
 * refused with an error that does not repeat it. What was sealed under `before`, when it is not
 * empty, is opened too.
 */
export function createKeyEncryption(key: string, before = ""): KeyEncryption {
  const raw = readKey(key, "LUCKY_AUTH_KEY_ENCRYPTION_KEY");
  const earlier = before && readKey(before, "LUCKY_AUTH_KEY_ENCRYPTION_KEY_BEFORE");
  return {
    encrypt: (secret, about) => encryptAesGcm(raw, secret, about),
    isCurrent(sealed, about) {
      try {
        decryptAesGcm(raw, sealed, about).fill(0);
        return true;
      } catch {
        return false;
      }
    },
    decrypt(sealed, about) {
      try {
        return decryptAesGcm(raw, sealed, about);
      } catch (error) {
        if (!earlier) throw error;
        return decryptAesGcm(earlier, sealed, about);
      }
    },
  };
}

function readKey(key: string, variable: string): Buffer {
  const raw = Buffer.from(key.trim(), "base64");
  if (raw.length === KEY_BYTES) return raw;
  throw new Error(
    `The key-encryption key (${variable}) must be ${KEY_BYTES} bytes in base64; ${
      key === "" ? "it is missing" : `it has ${raw.length}`
    }. Make one with: openssl rand -base64 ${KEY_BYTES}`,
  );
}

/** AES-256-GCM: a fresh nonce, the ciphertext, the tag. `key` is 32 bytes. */
export function encryptAesGcm(
  key: Buffer,
  secret: Uint8Array,
  about: string,
): Uint8Array<ArrayBuffer> {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(
    Buffer.from(about),
  );
  return new Uint8Array(
    Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()]),
  );
}

/** Opens what `sealUnder` made. Throws when the key, the words or the bytes are other ones. */
export function decryptAesGcm(key: Buffer, sealed: Uint8Array, about: string): Buffer {
  const nonce = sealed.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(Buffer.from(about))
    .setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const secret = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
  return Buffer.concat([secret, decipher.final()]);
}

/**
 * The key-encryption key kept in a file, in base64; made with mode 0600 when the file is missing.
 * Processes that start together agree on one.
 */
export async function loadOrCreateKey(path: string): Promise<string> {
  const kept = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (kept !== undefined) return kept.trim();
  await mkdir(dirname(path), { recursive: true });
  // Written whole under another name first: the file is never there without its key.
  const fresh = `${path}.${randomBytes(6).toString("hex")}`;
  const file = await open(fresh, "wx", 0o600);
  try {
    await file.writeFile(`${randomBytes(KEY_BYTES).toString("base64")}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await link(fresh, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(fresh);
  return (await readFile(path, "utf8")).trim();
}
