import { closeSync, openSync, readSync } from "node:fs";

/** Maximum bytes of a file with a secret. */
export const MAX_SECRET_FILE_BYTES = 65_536;

/**
 * The text of a file with a secret, without the newlines at its end. Throws an error for operators
 * when the file cannot be read, is empty, too large or not text; the error never has the content.
 */
export function readSecretFile(path: string): string {
  const content = readBounded(path);
  if (content.length > MAX_SECRET_FILE_BYTES)
    throw new Error(`has more than ${MAX_SECRET_FILE_BYTES} bytes`);
  const text = textOf(content).replace(/[\r\n]+$/, "");
  if (text.trim() === "") throw new Error("is empty");
  return text;
}

/** Reads at most one byte more than the maximum: the path may name an endless device. */
function readBounded(path: string): Buffer {
  const buffer = Buffer.alloc(MAX_SECRET_FILE_BYTES + 1);
  let length = 0;
  try {
    const file = openSync(path, "r");
    try {
      while (length < buffer.length) {
        const read = readSync(file, buffer, length, buffer.length - length, null);
        if (read === 0) break;
        length += read;
      }
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    const { code = "unknown error" } = cause as NodeJS.ErrnoException;
    throw new Error(`cannot be read: ${code}`, { cause });
  }
  return buffer.subarray(0, length);
}

function textOf(content: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch (cause) {
    throw new Error("is not text in UTF-8", { cause });
  }
}
