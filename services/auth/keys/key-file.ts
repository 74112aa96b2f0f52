import { randomBytes } from "node:crypto";
import { link, mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { KEY_BYTES } from "#platform/aes-gcm.ts";

/**
 * Reads the key-encryption key, in base64, from a file. Creates the file with a random key and mode
 * 0600 when it is missing. Processes that start at the same time get the same key.
 */
export async function loadOrCreateKey(path: string): Promise<string> {
  const stored = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (stored !== undefined) return stored.trim();
  await mkdir(dirname(path), { recursive: true });
  // The key is written to a temporary file and then linked: no process reads an incomplete file.
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(`${randomBytes(KEY_BYTES).toString("base64")}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  // EEXIST: another process won the race, and its key is used.
  await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  await rm(temporary);
  return (await readFile(path, "utf8")).trim();
}
