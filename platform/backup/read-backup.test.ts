import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { checkBackup, readBackup } from "./read-backup.ts";

const folder = await mkdtemp(join(tmpdir(), "lucky-backup-"));
after(() => rm(folder, { recursive: true, force: true }));
const file = join(folder, "some.backup");

const HEADER = {
  format: "lucky-backup",
  version: 1,
  takenAt: "2026-11-30T07:00:00.000Z",
  migrations: ["0001_lucky"],
  keyFingerprint: "",
};
/** Rows that look like other lines of the format, and enough of them for several chunks. */
const ROWS = [
  "1\tana",
  "2\ttext before \\\\.",
  "\\\\.",
  '{"rows":{},"sha256":""}',
  ...Array.from({ length: 40_000 }, (_, n) => `${n}\tan entry of the log with some bytes`),
];

/** The lines of a backup, without its footer. */
function contentOf(header: unknown = HEADER, rows: readonly string[] = ROWS): string {
  const table = { table: "im.entry", columns: ["id", "text"] };
  const empty = { table: "im.direct", columns: ["id"] };
  const lines = [JSON.stringify(header), JSON.stringify(table), ...rows, "\\."];
  return `${[...lines, JSON.stringify(empty), "\\."].join("\n")}\n`;
}

function footerOf(content: string, rows = ROWS.length): string {
  const sha256 = createHash("sha256").update(content).digest("hex");
  return `${JSON.stringify({ rows: { "im.entry": rows, "im.direct": 0 }, sha256 })}\n`;
}

function whole(content = contentOf()): string {
  return content + footerOf(content);
}

/** Writes a backup and checks it. */
async function check(bytes: string | Buffer) {
  await writeFile(file, typeof bytes === "string" ? gzipSync(bytes) : bytes);
  return checkBackup(file);
}

test("a backup is read in whole rows, also rows that look like its other lines", async () => {
  const { header, footer } = await check(whole());
  assert.deepEqual(header, HEADER);
  assert.deepEqual(footer.rows, { "im.entry": ROWS.length, "im.direct": 0 });
  const kinds = new Set<string>();
  const chunks: Buffer[] = [];
  for await (const part of readBackup(file)) {
    kinds.add(part.kind);
    if (part.kind === "rows") chunks.push(Buffer.from(part.bytes));
  }
  assert.ok(chunks.length > 1);
  assert.ok(chunks.every((chunk) => chunk.at(-1) === 0x0a));
  assert.equal(Buffer.concat(chunks).toString(), `${ROWS.join("\n")}\n`);
  assert.deepEqual([...kinds], ["header", "table", "rows", "tableEnd", "footer"]);
});

test("another file is not a backup", async () => {
  const others = ["some text\n", JSON.stringify({ format: "other" })];
  for (const content of others) {
    await assert.rejects(check(Buffer.from(content)), /is not a backup of Lucky/, content);
    await assert.rejects(check(content), /is not a backup of Lucky/, content);
  }
  await assert.rejects(checkBackup(join(folder, "missing")), /missing cannot be read: ENOENT/);
  await assert.rejects(checkBackup(folder), /cannot be read: EISDIR/);
});

test("a format of another version is refused with both versions", async () => {
  const content = contentOf({ ...HEADER, version: 2 });
  await assert.rejects(check(whole(content)), /format version 2; this Lucky reads version 1/);
});

test("a truncated backup is refused, wherever it ends", async () => {
  const bytes = gzipSync(whole());
  // At least 400 bytes: the gzip header alone does not identify a backup.
  for (const share of [0.01, 0.1, 0.5, 0.9, 0.999]) {
    const end = Math.max(400, Math.floor(bytes.length * share));
    await assert.rejects(check(bytes.subarray(0, end)), /is truncated/, `${share}`);
  }
  await assert.rejects(check(bytes.subarray(0, -1)), /is truncated/);
  await assert.rejects(check(Buffer.alloc(0)), /is truncated/);
  const content = contentOf();
  for (const text of [content, content.slice(0, 2_000), whole().slice(0, -1)])
    await assert.rejects(check(text), /is truncated/);
});

test("a damaged backup is refused", async () => {
  const bytes = gzipSync(whole());
  for (const share of [0.2, 0.5, 0.8]) {
    const damaged = Buffer.from(bytes);
    damaged[Math.floor(bytes.length * share)]! ^= 0x40;
    await assert.rejects(check(damaged), /is damaged|is truncated/, `${share}`);
  }
  const content = contentOf();
  const faulty = [
    content.replace("an entry", "an Entry") + footerOf(content),
    content.replace("1\tana\n", "") + footerOf(content),
    content + footerOf(content, ROWS.length - 1),
    content.replace('"im.direct"', '"im.entry"') + footerOf(content),
    `${whole()}{}\n`,
    `${whole()}more`,
    contentOf({ ...HEADER, migrations: "0001" }),
    `${JSON.stringify(HEADER)}\nsome text\n`,
  ];
  for (const [at, text] of faulty.entries())
    await assert.rejects(check(text), /is damaged/, `case ${at}`);
  await assert.rejects(
    check(Buffer.concat([bytes, bytes])),
    /is damaged/,
    "two backups in one file",
  );
});

test("a line without an end is refused before it fills the memory", async () => {
  const content = `${JSON.stringify(HEADER)}\n${"x".repeat(18_000_000)}`;
  await assert.rejects(check(content), /is damaged/);
});
