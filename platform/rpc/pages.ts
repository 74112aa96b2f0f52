import { invalidField } from "#platform/errors.ts";
import { parseId } from "#platform/ids.ts";

/** The token of the page that follows the row with this id. */
export const pageTokenOf = (id: bigint): string => encodePosition(String(id));

/** The row id in a page token; undefined for the first page. Throws INVALID_ARGUMENT. */
export function idOfPageToken(pageToken: string): bigint | undefined {
  if (pageToken === "") return undefined;
  const id = parseId(decodePosition(pageToken));
  if (id !== undefined) return id;
  throw pageTokenRefused();
}

/** A page token with the position of the last row of a page, in any form. */
export const encodePosition = (position: string): string =>
  Buffer.from(position).toString("base64url");

/** The position in a page token. The caller checks it: the token may come from anywhere. */
export const decodePosition = (pageToken: string): string =>
  Buffer.from(pageToken, "base64url").toString();

/** The error for a page token that is not from this list, or no longer valid. */
export const pageTokenRefused = () =>
  invalidField("page_token", "not from this list, or no longer valid");

/**
 * The page in rows that were read with the limit `size` + 1: one row more than the page tells whether
 * another page follows. `tokenOf` returns the token of the page that follows a row.
 */
export function pageOf<Row>(
  rows: readonly Row[],
  size: number,
  tokenOf: (last: Row) => string,
): { page: Row[]; nextPageToken: string } {
  const page = rows.slice(0, size);
  const last = page.at(-1);
  const more = rows.length > size && last !== undefined;
  return { page, nextPageToken: more ? tokenOf(last) : "" };
}
