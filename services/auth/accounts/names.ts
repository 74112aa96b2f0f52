import { readFileSync } from "node:fs";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/**
 * What is unique of a user name: two names with the same key are one name.
 *
 * NFKC joins look-alike encodings. Upper case before lower case folds what lower case alone keeps
 * apart, such as ß and ss or the two forms of sigma.
 */
export function nameKey(userName: string): string {
  const folded = userName.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC");
  // Which sigma lower case takes depends on what follows: the beginning of a name would not be one.
  return folded.replaceAll("ς", "σ");
}

/**
 * What a name looks like, one or two texts: names that share one can be mistaken for each other.
 *
 * Skeletons of Unicode's UTS 39, case-folded: of the name in small letters, where Cyrillic о is o,
 * and of the name as it is written, where capital I is l. (In small letters alone elia and ella
 * would have to be the same for that.)
 */
export function shapesOf(userName: string): string[] {
  const shapes = [nameKey(userName), userName.normalize("NFKC")].map((text) =>
    nameKey(skeleton(text)),
  );
  return [...new Set(shapes)];
}

const INVISIBLE = /\p{Default_Ignorable_Code_Point}/gu;

/**
 * Throws INVALID_ARGUMENT for a name with characters that nobody sees. Some are letters or marks to
 * Unicode, such as the Hangul filler and the variation selectors: with them a name of nothing, or one
 * that looks exactly like another, could be had.
 */
export function requireVisible(userName: string): void {
  if (userName.search(INVISIBLE) < 0) return;
  throw fail(ErrorReason.INVALID_ARGUMENT, "user_name: must not hold invisible characters");
}

const prototypeOf = readConfusables();

/** Unicode's table, as scripts/confusables.ts wrote it: a character → what it is mapped to. */
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
  const seen = text.normalize("NFD").replace(INVISIBLE, "");
  const mapped = [...seen].map((one) => prototypeOf.get(one) ?? one);
  return mapped.join("").normalize("NFD");
}
