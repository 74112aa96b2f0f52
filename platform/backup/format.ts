/**
 * The format of a backup: gzip of a text with "\n" at the end of each line.
 *
 *   {"format":"lucky-backup","version":1, …}              the header
 *   {"table":"auth.account","columns":["user_id", …]}     for each table, and after it
 *   1 ⇥ ana ⇥ …                                           its rows in the text format of COPY,
 *   \.                                                    and this line
 *   {"rows":{"auth.account":1, …},"sha256":"…"}           the footer
 *
 * A row never equals the line `\.`, because COPY doubles each backslash. The hash covers all bytes
 * before the footer.
 */
export const FORMAT = "lucky-backup";
export const VERSION = 1;

/** The line after the rows of a table. */
export const END_OF_ROWS = Buffer.from("\\.\n");
export const NEWLINE = 0x0a;

export interface Header {
  readonly format: typeof FORMAT;
  readonly version: number;
  /** When the snapshot was taken, ISO 8601. */
  readonly takenAt: string;
  /** Names of the applied migrations, in order. */
  readonly migrations: readonly string[];
  /** Identifies the key-encryption key; empty when it was not known. */
  readonly keyFingerprint: string;
  /** A text for operators when the log was damaged, line by line; absent for a complete log. */
  readonly damage?: readonly string[];
}

/** A table, and the columns of its rows in their order. */
export interface Table {
  /** "schema.table" */
  readonly table: string;
  readonly columns: readonly string[];
}

export interface Footer {
  /** Number of rows by table. */
  readonly rows: Readonly<Record<string, number>>;
  /** SHA-256 of everything before the footer, in hex. */
  readonly sha256: string;
}

export function encodeLine(value: Header | Table | Footer): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

/** Number of lines that end in the bytes: of rows, because COPY escapes line breaks in values. */
export function countLines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}

/** Parses the header. Undefined for a line of another file. */
export function parseHeader(line: string): Header | undefined {
  const value = parseObject(line);
  return value?.format === FORMAT ? (value as unknown as Header) : undefined;
}

/** Parses a line between the rows of tables; undefined for a damaged one. */
export function parseLine(line: string): Table | Footer | undefined {
  const value = parseObject(line);
  if (typeof value?.table === "string" && isTexts(value.columns)) {
    return { table: value.table, columns: value.columns };
  }
  if (typeof value?.sha256 === "string" && typeof value.rows === "object" && value.rows !== null) {
    return { rows: value.rows as Record<string, number>, sha256: value.sha256 };
  }
  return undefined;
}

/** Whether the fields of a header of this version have their types. */
export function isComplete(header: Header): boolean {
  return (
    isTexts(header.migrations) &&
    header.migrations.length > 0 &&
    typeof header.takenAt === "string" &&
    typeof header.keyFingerprint === "string" &&
    (header.damage === undefined || isTexts(header.damage))
  );
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
