import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { type AdminService, AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { idOfPageToken, pageTokenOf } from "#platform/page-tokens.ts";
import { requirePrintable } from "#platform/validation/printable.ts";
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
    throw fail(
      ErrorReason.INVALID_ARGUMENT,
      "page_token: not from this search, or no longer valid",
    );
  }

  async function byPrefix(wanted: string, pageSize: number, pageToken: string) {
    requirePrintable("user_name_prefix", wanted);
    const prefix = nameKey(wanted);
    const after = await lastNameOf(pageToken, prefix);
    // A range needs no escaping, unlike LIKE.
    const rows = await database.$queryRaw<{ id: string }[]>`
      SELECT user_id::text AS id FROM auth.account
      WHERE state <> 'deleted'
        AND user_name_key COLLATE "C" >= ${prefix}
        AND user_name_key COLLATE "C" < ${prefix + LAST_CHARACTER}
        AND user_name_key COLLATE "C" > ${after}
      ORDER BY user_name_key COLLATE "C" LIMIT ${pageSize + 1}`;
    const found = await accounts.byIds(rows.slice(0, pageSize).map(({ id }) => id));
    const last = found.at(-1);
    const more = rows.length > pageSize && last !== undefined;
    return {
      accounts: await views.of(found),
      nextPageToken: more ? pageTokenOf(last.userId) : "",
    };
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
