import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { type AdminService, AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { idOfPageToken, pageOf, pageTokenOf, pageTokenRefused } from "#platform/rpc/pages.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { nameKey } from "../accounts/names.ts";
import { normalizePhone } from "../accounts/phone.ts";
import type { Database } from "../database.ts";
import type { AccountViews } from "./account-views.ts";
import type { AuditedChanges } from "./audited-changes.ts";

/** Accounts in one page when the request names no size. */
const DEFAULT_PAGE_SIZE = 20;
/** The last code point: it sorts after every character that a name may contain. */
const LAST_CHARACTER = "\u{10ffff}";

/** Finds accounts in any state. Deleted accounts are found by id only. */
export function createAccountSearch({
  accounts,
  changes,
  database,
  views,
}: {
  accounts: Pick<Accounts, "byId" | "byIds" | "byPhone">;
  changes: AuditedChanges;
  database: Database;
  views: AccountViews;
}): Pick<ServiceImpl<typeof AdminService>, "findAccounts"> {
  /** The last name of the previous page; empty for the first page. Throws INVALID_ARGUMENT. */
  async function lastNameOf(pageToken: string, prefix: string): Promise<string> {
    const id = idOfPageToken(pageToken);
    if (id === undefined) return "";
    const last = await accounts.byId(String(id));
    if (last?.userNameKey.startsWith(prefix)) return last.userNameKey;
    throw pageTokenRefused();
  }

  async function byPrefix(wanted: string, pageSize: number, pageToken: string) {
    const prefix = nameKey(wanted);
    const after = await lastNameOf(pageToken, prefix);
    // A range needs no escaping, unlike LIKE.
    const rows = await database.$queryRaw<{ id: bigint }[]>`
      SELECT user_id AS id FROM auth.account
      WHERE state <> 'deleted'
        AND user_name_key COLLATE "C" >= ${prefix}
        AND user_name_key COLLATE "C" < ${prefix + LAST_CHARACTER}
        AND user_name_key COLLATE "C" > ${after}
      ORDER BY user_name_key COLLATE "C" LIMIT ${pageSize + 1}`;
    const { page, nextPageToken } = pageOf(rows, pageSize, ({ id }) => pageTokenOf(id));
    const found = await accounts.byIds(page.map(({ id }) => String(id)));
    return { accounts: await views.of(found), nextPageToken };
  }

  /** The owner of a number is personal data, so every such search is audited, found or not. */
  async function byPhone(phone: string, context: HandlerContext) {
    const account = await accounts.byPhone(normalizePhone(phone));
    const act = { context, action: AuditAction.FOUND_BY_PHONE, reason: "" };
    await changes.changeSystem(act, async () =>
      account ? { detail: "found", userId: String(account.userId) } : { detail: "not found" },
    );
    return { accounts: account ? await views.of([account]) : [] };
  }

  return {
    async findAccounts({ query, pageSize, pageToken }, context) {
      switch (query.case) {
        case "userId": {
          const account = await accounts.byId(query.value);
          return { accounts: account ? await views.of([account]) : [] };
        }
        case "phone":
          return byPhone(query.value, context);
        default:
          return byPrefix(query.value ?? "", pageSize || DEFAULT_PAGE_SIZE, pageToken);
      }
    },
  };
}
