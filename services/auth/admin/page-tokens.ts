import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/** The token of the page behind a row, by the row's id. */
export const pageTokenOf = (id: bigint): string => Buffer.from(String(id)).toString("base64url");

/** The id in a token; undefined for the first page. Throws INVALID_ARGUMENT. */
export function idOfPageToken(pageToken: string): bigint | undefined {
  if (pageToken === "") return undefined;
  const id = Buffer.from(pageToken, "base64url").toString();
  if (/^[1-9]\d{0,17}$/.test(id)) return BigInt(id);
  throw fail(ErrorReason.INVALID_ARGUMENT, "page_token: none of ours");
}
