import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import {
  countLines,
  END_OF_ROWS,
  type Footer,
  type Header,
  isComplete,
  NEWLINE,
  parseHeader,
  parseLine,
  type Table,
  VERSION,
} from "./format.ts";

/** A part of a backup, in the order of the file. */
export type Part =
  | { readonly kind: "header"; readonly header: Header }
  | { readonly kind: "table"; readonly table: Table }
  /** Whole rows of the last table. */
  | { readonly kind: "rows"; readonly bytes: Buffer }
  | { readonly kind: "tableEnd"; readonly rows: number }
  | { readonly kind: "footer"; readonly footer: Footer };

/** Bytes that are read from the disk, and unpacked, at once. */
const CHUNK_BYTES = 262_144;
/** Maximum length of a line, bytes. A row with the largest message has 140,000. */
const MAX_LINE_BYTES = 16_777_216;
const ROW_START = Buffer.concat([Buffer.from([NEWLINE]), END_OF_ROWS]);

/** The place in the file. */
type Place =
  | { readonly at: "start" }
  | { readonly at: "between tables" }
  | { readonly at: "rows"; readonly table: string; count: number }
  | { readonly at: "end" };

/**
 * Reads a backup, in constant memory. Throws an error for operators when the file cannot be read, is
 * no backup, has a format of another version, or is truncated or damaged. Only the footer proves that
 * the parts before it are intact.
 */
export async function* readBackup(file: string): AsyncGenerator<Part, void, void> {
  const reader = new Reader(file);
  const unpacked = createGunzip({ chunkSize: CHUNK_BYTES });
  // The error of either stream ends the loop below.
  pipeline(createReadStream(file, { highWaterMark: CHUNK_BYTES }), unpacked, () => {});
  try {
    for await (const chunk of unpacked) yield* reader.read(chunk);
  } catch (error) {
    throw reader.explain(error as Error);
  }
  reader.finish();
}

/** Reads the whole file once, to check it. Returns the header and the footer. Throws as above. */
export async function checkBackup(
  file: string,
  signal?: AbortSignal,
): Promise<{ readonly header: Header; readonly footer: Footer }> {
  let header: Header | undefined;
  let footer: Footer | undefined;
  for await (const part of readBackup(file)) {
    signal?.throwIfAborted();
    if (part.kind === "header") header = part.header;
    if (part.kind === "footer") footer = part.footer;
  }
  return { header: header!, footer: footer! };
}

class Reader {
  readonly #file: string;
  readonly #hash = createHash("sha256");
  readonly #rows: Record<string, number> = {};
  #place: Place = { at: "start" };
  /** The beginning of a line whose end was not read yet. */
  #unfinished: Buffer = Buffer.alloc(0);

  constructor(file: string) {
    this.#file = file;
  }

  *read(chunk: Buffer): Generator<Part> {
    const bytes = this.#unfinished.length === 0 ? chunk : Buffer.concat([this.#unfinished, chunk]);
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    if (bytes.length - end > MAX_LINE_BYTES) throw this.#damaged();
    for (let at = 0; at < end; ) {
      const place = this.#place;
      if (place.at === "rows") {
        const lines = bytes.subarray(at, end);
        const stop = findEndOfRows(lines);
        const rows = lines.subarray(0, stop);
        place.count += countLines(rows);
        if (rows.length > 0) yield { kind: "rows", bytes: rows };
        at += rows.length;
        this.#hash.update(rows);
        if (stop === lines.length) continue;
        this.#hash.update(END_OF_ROWS);
        at += END_OF_ROWS.length;
        this.#rows[place.table] = place.count;
        this.#place = { at: "between tables" };
        yield { kind: "tableEnd", rows: place.count };
      } else {
        const next = bytes.indexOf(NEWLINE, at) + 1;
        yield this.#line(bytes.subarray(at, next));
        at = next;
      }
    }
    this.#unfinished = bytes.subarray(end);
  }

  /** Reads a line that is not a row. */
  #line(bytes: Buffer): Part {
    const text = bytes.toString();
    if (this.#place.at === "start") {
      const header = parseHeader(text);
      if (header === undefined) throw this.#foreign();
      if (header.version !== VERSION) throw this.#otherVersion(header);
      if (!isComplete(header)) throw this.#damaged();
      this.#hash.update(bytes);
      this.#place = { at: "between tables" };
      return { kind: "header", header };
    }
    const line = this.#place.at === "end" ? undefined : parseLine(text);
    if (line === undefined) throw this.#damaged();
    if ("table" in line) {
      if (line.table in this.#rows) throw this.#damaged();
      this.#hash.update(bytes);
      this.#place = { at: "rows", table: line.table, count: 0 };
      return { kind: "table", table: line };
    }
    this.#place = { at: "end" };
    const tables = new Set([...Object.keys(this.#rows), ...Object.keys(line.rows)]);
    for (const table of tables) if (line.rows[table] !== this.#rows[table]) throw this.#damaged();
    if (line.sha256 !== this.#hash.digest("hex")) throw this.#damaged();
    return { kind: "footer", footer: line };
  }

  /** Throws when the file ended too early. */
  finish(): void {
    if (this.#place.at === "start") throw this.#foreign();
    if (this.#place.at !== "end") throw this.#truncated();
    if (this.#unfinished.length > 0) throw this.#damaged();
  }

  /** Explains an error of the streams; returns any other error as it is. */
  explain(error: Error): Error {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall !== undefined)
      return new Error(`The backup ${this.#file} cannot be read: ${error.message}.`, {
        cause: error,
      });
    if (code === "Z_BUF_ERROR") return this.#truncated();
    if (code?.startsWith("Z_") !== true) return error;
    return this.#place.at === "start" ? this.#foreign() : this.#damaged();
  }

  #foreign(): Error {
    return new Error(`${this.#file} is not a backup of Lucky.`);
  }

  #otherVersion({ version }: Header): Error {
    return new Error(
      `The backup ${this.#file} has the format version ${version}; this Lucky reads version ${VERSION}. Restore it with the version of Lucky that wrote it.`,
    );
  }

  #truncated(): Error {
    return new Error(
      `The backup ${this.#file} is truncated: its end is missing. Copy it again, or use another backup.`,
    );
  }

  #damaged(): Error {
    return new Error(
      `The backup ${this.#file} is damaged: its content does not match its checksum. Copy it again, or use another backup.`,
    );
  }
}

/** Where the line after the rows begins; the length of the lines when it is not among them. */
function findEndOfRows(lines: Buffer): number {
  if (lines.subarray(0, END_OF_ROWS.length).equals(END_OF_ROWS)) return 0;
  const found = lines.indexOf(ROW_START);
  return found === -1 ? lines.length : found + 1;
}
