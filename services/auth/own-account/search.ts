import type { ServiceImpl } from "@connectrpc/connect";
import type { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { invalidField } from "#platform/errors.ts";
import { idOfPageToken, pageOf, pageTokenOf, pageTokenRefused } from "#platform/rpc/pages.ts";
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
  async function idsByName(prefix: string, after: string, limit: number): Promise<bigint[]> {
    // A range needs no escaping, unlike LIKE, and every plan for it uses account_name_prefix.
    const rows = await database.$queryRaw<{ id: bigint }[]>`
      SELECT user_id AS id FROM auth.account
      WHERE state = 'active' AND searchable_by_name
        AND user_name_key COLLATE "C" >= ${prefix}
        AND user_name_key COLLATE "C" < ${prefix + LAST_CODE_POINT}
        AND user_name_key COLLATE "C" > ${after}
      ORDER BY user_name_key COLLATE "C" LIMIT ${limit}`;
    return rows.map(({ id }) => id);
  }

  /** The last name of the previous page. The page token is the id of its last user. */
  async function lastNameOf(pageToken: string, prefix: string): Promise<string> {
    const id = idOfPageToken(pageToken);
    if (id === undefined) return "";
    const last = await accounts.byId(String(id));
    if (last?.userNameKey.startsWith(prefix)) return last.userNameKey;
    throw pageTokenRefused();
  }

  async function byName(wanted: string, pageSize: number, pageToken: string) {
    const prefix = nameKey(wanted);
    if ([...prefix].length < MIN_PREFIX_LENGTH)
      throw invalidField("user_name_prefix", `at least ${MIN_PREFIX_LENGTH} letters`);
    const ids = await idsByName(prefix, await lastNameOf(pageToken, prefix), pageSize + 1);
    const { page, nextPageToken } = pageOf(ids, pageSize, pageTokenOf);
    return { users: (await accounts.byIds(page.map(String))).map(userOfAccount), nextPageToken };
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
