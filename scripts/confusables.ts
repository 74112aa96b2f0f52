/**
 * Writes services/auth/accounts/confusables.txt, Unicode's table of characters that look alike,
 * from src/tables.rs of the Rust crate unicode-security: npm has no maintained package with this
 * table. `cargo fetch` in a project with the crate downloads it to ~/.cargo/registry/src.
 *
 * node scripts/confusables.ts <path of tables.rs>
 *
 * A new version changes the sets of confusable names:
 * docs/decisions/0017-confusables-of-unicode.md.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [path] = process.argv.slice(2);
if (path === undefined)
  throw new Error("Pass the path of tables.rs from the crate unicode-security.");
const source = readFileSync(path, "utf8");
const [, version] = /UNICODE_VERSION[^=]*= \(([\d, ]+)\)/.exec(source) ?? [];
const [, table] =
  /mod confusable_detection [\s\S]*?CONFUSABLES[^=]*= &\[([\s\S]*?)\];/.exec(source) ?? [];
if (version === undefined || table === undefined)
  throw new Error(`${path} does not contain the table of confusables.`);

const codesOf = (text: string) => [...text.matchAll(/\\u\{([0-9a-f]+)\}/g)].map(([, code]) => code);
const lines = [...table.matchAll(/\('[^']+',\s*&\[[^\]]*\]\)/g)].map(([entry]) =>
  codesOf(entry).join(" "),
);
const head = `# Characters that look alike, of Unicode ${version.replaceAll(", ", ".")} (UTS 39, confusables.txt).
# Each line: a character, then what it is mapped to, in hexadecimal. Written by scripts/confusables.ts.
# Copyright Unicode, Inc.; Unicode License v3, https://www.unicode.org/license.txt
`;
writeFileSync(
  join(import.meta.dirname, "../services/auth/accounts/confusables.txt"),
  `${head}${lines.join("\n")}\n`,
);
