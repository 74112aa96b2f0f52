import { createHmac, randomBytes } from "node:crypto";
import { link, mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { KEY_BYTES } from "#platform/aes-gcm.ts";

/**
 * Reads the key-encryption key, in base64, from a file. Creates the file with a random key and mode
 * 0600 when it is missing. Processes that start at the same time get the same key.
 */
export async function loadOrCreateKey(path: string): Promise<string> {
  return (await readKey(path)) ?? storeKey(path, randomBytes(KEY_BYTES).toString("base64"));
}

/** Reads the key from a file; undefined when the file is missing. */
export async function readKey(path: string): Promise<string | undefined> {
  const stored = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  return stored?.trim();
}

/**
 * Creates the file with the key and mode 0600. Returns the key of the file, which is another one when
 * another process has created the file.
 */
export async function storeKey(path: string, key: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  // The key is written to a temporary file and then linked: no process reads an incomplete file.
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(`${key}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  // EEXIST: another process won the race, and its key is used.
  await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(temporary);
  return (await readKey(path))!;
}

/** Identifies a key, and reveals nothing about it: the key is 32 random bytes. */
export function keyFingerprint(key: string): string {
  const bytes = Buffer.from(key, "base64");
  return createHmac("sha256", bytes).update("key fingerprint of Lucky").digest("hex").slice(0, 32);
}
