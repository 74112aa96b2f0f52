import { readFileSync, statSync } from "node:fs";
import { LineCounter, parseDocument } from "yaml";

/** Maximum bytes of a file of settings. */
const MAX_BYTES = 1_048_576;

/** A file of settings as it was read. */
export interface SettingsText {
  readonly text: string;
  readonly modifiedAtMs: number;
  /** User id of the owner. */
  readonly ownerUid: number;
}

/** Reads a file of settings. Throws an error for operators, which does not have its content. */
export function readSettingsText(path: string): SettingsText {
  let size: number;
  let read: SettingsText;
  try {
    const { size: bytes, mtimeMs, uid } = statSync(path);
    size = bytes;
    const text = bytes > MAX_BYTES ? "" : readFileSync(path, "utf8");
    read = { text, modifiedAtMs: mtimeMs, ownerUid: uid };
  } catch (cause) {
    const { code = "unknown error" } = cause as NodeJS.ErrnoException;
    throw new Error(`${path} cannot be read: ${code}`, { cause });
  }
  if (size > MAX_BYTES) throw new Error(`${path} has more than ${MAX_BYTES} bytes`);
  return read;
}

/**
 * Parses settings in YAML, of which JSON is a part. Returns undefined with an additional fault for
 * anything but one object. An empty text is a fault too: an editor may be writing the file. Faults
 * have no part of the text, which may contain secrets.
 */
export function parseSettings(
  { text }: Pick<SettingsText, "text">,
  { path, faults }: { readonly path: string; readonly faults: string[] },
): Record<string, unknown> | undefined {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  for (const { code, pos } of document.errors) {
    const { line, col } = lineCounter.linePos(pos[0]);
    faults.push(`${path}: line ${line}, column ${col} is neither YAML nor JSON: ${code}`);
  }
  if (document.errors.length > 0) return undefined;
  let content: unknown;
  try {
    content = document.toJS();
  } catch {
    faults.push(`${path} has an alias without its anchor, or too many aliases`);
    return undefined;
  }
  if (content === null) faults.push(`${path} is empty: write {} for no settings`);
  else if (asObject(content) === undefined) faults.push(`${path} must hold one object`);
  return asObject(content);
}

/** The value as an object with named fields; undefined for any other value. */
export function asObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
