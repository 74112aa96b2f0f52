import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { parseId } from "#platform/ids.ts";
import { requirePrintable } from "#platform/validation/printable.ts";
import { type Accounts, userOfAccount } from "../accounts/accounts.ts";
import { nameKey } from "../accounts/names.ts";
import { normalizePhone } from "../accounts/phone.ts";
import type { AuthConfig } from "../config.ts";
import type { Database } from "../database.ts";

const MIN_PREFIX_LENGTH = 2;
/** The last code point: in the order of the index, it sorts after every character of a name. */
const LAST_CODE_POINT = "\u{10ffff}";

/** Searches users who have enabled search by name or number. */
export function createSearch({
  accounts,
  config,
  database,
}: {
  accounts: Accounts;
  config: Pick<AuthConfig, "searchPageSize">;
  database: Database;
}): Pick<ServiceImpl<typeof UserService>, "searchUsers"> {
  /** The ids of the users after the name `after`, ordered by name. */
  async function idsByName(prefix: string, after: string, limit: number): Promise<string[]> {
    // A range needs no escaping, unlike LIKE, and every plan for it uses account_name_prefix.
    const rows = await database.$queryRaw<{ id: string }[]>`
      SELECT user_id::text AS id FROM auth.account
      WHERE state = 'active' AND searchable_by_name
        AND user_name_key COLLATE "C" >= ${prefix}
        AND user_name_key COLLATE "C" < ${prefix + LAST_CODE_POINT}
        AND user_name_key COLLATE "C" > ${after}
      ORDER BY user_name_key COLLATE "C" LIMIT ${limit}`;
    return rows.map(({ id }) => id);
  }

  /** The last name of the previous page. The page token is the id of its last user. */
  async function lastNameOf(pageToken: string, prefix: string): Promise<string> {
    if (pageToken === "") return "";
    const id = parseId(Buffer.from(pageToken, "base64url").toString());
    const last = id === undefined ? undefined : await accounts.byId(String(id));
    if (last?.userNameKey.startsWith(prefix)) return last.userNameKey;
    throw fail(
      ErrorReason.INVALID_ARGUMENT,
      "page_token: not from this search, or no longer valid",
    );
  }

  async function byName(wanted: string, pageSize: number, pageToken: string) {
    requirePrintable("user_name_prefix", wanted);
    const prefix = nameKey(wanted);
    if ([...prefix].length < MIN_PREFIX_LENGTH)
      throw fail(
        ErrorReason.INVALID_ARGUMENT,
        `user_name_prefix: at least ${MIN_PREFIX_LENGTH} letters`,
      );
    const ids = await idsByName(prefix, await lastNameOf(pageToken, prefix), pageSize + 1);
    const users = (await accounts.byIds(ids.slice(0, pageSize))).map(userOfAccount);
    const last = users.at(-1)?.userId;
    const more = ids.length > pageSize && last !== undefined;
    return { users, nextPageToken: more ? Buffer.from(last).toString("base64url") : "" };
  }

  async function byPhone(phone: string) {
    const account = await accounts.byPhone(normalizePhone(phone));
    const found = account?.state === "active" && account.searchableByPhone;
    return { users: found ? [userOfAccount(account)] : [] };
  }

  return {
    async searchUsers({ query, pageSize, pageToken }) {
      if (query.case === "phone") return byPhone(query.value);
      return byName(query.value ?? "", pageSize || config.searchPageSize, pageToken);
    },
  };
}
