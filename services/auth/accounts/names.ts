import { readFileSync } from "node:fs";
import { invalidField } from "#platform/errors.ts";

/**
 * The unique key of a user name: two spellings with the same key are the same name.
 *
 * NFKC unifies compatible encodings. Upper-casing before lower-casing also folds ß to ss, and the two
 * forms of sigma, which lower-casing alone keeps apart.
 */
export function nameKey(userName: string): string {
  const folded = userName.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC");
  // Lower-casing chooses the form of sigma by its position in the word. Without this the key of a
  // prefix would not be a prefix of the key.
  return folded.replaceAll("ς", "σ");
}

/**
 * The shapes of a name, one or two texts. Names that share a shape are confusable.
 *
 * They are skeletons of Unicode's UTS 39, case-folded: one of the lower-case name, where Cyrillic о
 * maps to o, and one of the name as written, where capital I maps to l. (With the lower-case skeleton
 * alone, catching I for l would make elia and ella confusable.)
 */
export function shapesOf(userName: string): string[] {
  const shapes = [nameKey(userName), userName.normalize("NFKC")].map((text) =>
    nameKey(skeleton(text)),
  );
  return [...new Set(shapes)];
}

const INVISIBLE = /\p{Default_Ignorable_Code_Point}/gu;

/**
 * Throws INVALID_ARGUMENT for a name with invisible characters. Unicode classifies some of them as
 * letters or marks, such as the Hangul filler and the variation selectors. With them a name could
 * be empty, or identical in appearance to another name.
 */
export function requireVisible(userName: string): void {
  if (userName.search(INVISIBLE) < 0) return;
  throw invalidField("user_name", "must not hold invisible characters");
}

const prototypeOf = readConfusables();

/** Unicode's table of confusables, written by scripts/confusables.ts: character → prototype. */
function readConfusables(): ReadonlyMap<string, string> {
  const text = readFileSync(new URL("confusables.txt", import.meta.url), "utf8");
  const entries = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    entries.map((line) => {
      const [from, ...to] = line.split(" ").map((code) => String.fromCodePoint(parseInt(code, 16)));
      return [from!, to.join("")];
    }),
  );
}

/** The skeleton of UTS 39, section 4. */
function skeleton(text: string): string {
  const visible = text.normalize("NFD").replace(INVISIBLE, "");
  const mapped = [...visible].map((one) => prototypeOf.get(one) ?? one);
  return mapped.join("").normalize("NFD");
}
