import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { parseId } from "#platform/ids.ts";

/** The token of the page that follows the row with this id. */
export const pageTokenOf = (id: bigint): string => Buffer.from(String(id)).toString("base64url");

/** The row id in a page token; undefined for the first page. Throws INVALID_ARGUMENT. */
export function idOfPageToken(pageToken: string): bigint | undefined {
  if (pageToken === "") return undefined;
  const id = parseId(Buffer.from(pageToken, "base64url").toString());
  if (id !== undefined) return id;
  throw fail(ErrorReason.INVALID_ARGUMENT, "page_token: not valid");
}
