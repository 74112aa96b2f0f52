/**
 * What is unique of a user name: two names with the same key are one name.
 *
 * NFKC joins look-alike encodings. Upper case before lower case folds what lower case alone keeps
 * apart, such as ß and ss or the two forms of sigma.
 */
export function nameKey(userName: string): string {
  return userName.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC");
}
