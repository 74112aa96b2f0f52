import type { ServiceImpl } from "@connectrpc/connect";
import { type AdminService, AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { requireOtherAdmin } from "../accounts/account-states.ts";
import type { ProvenChanges } from "../credentials/proven-changes.ts";
import type { Logins } from "../logins/logins.ts";
import { type AccountViews, roleNameOf } from "./account-views.ts";
import type { AuditedChanges } from "./audited-changes.ts";

/** Changes the role of an account and ends its logins, so that no token carries the old role. */
export function createGrantRole({
  changes,
  logins,
  provenChanges,
  views,
}: {
  changes: AuditedChanges;
  logins: Pick<Logins, "end">;
  provenChanges: Pick<ProvenChanges, "require">;
  views: AccountViews;
}): Pick<ServiceImpl<typeof AdminService>, "grantRole"> {
  return {
    async grantRole({ userId, role, reason, proof }, context) {
      const wanted = roleNameOf(role);
      await provenChanges.require(context, { proof, accepts: "any" });
      const act = { context, action: AuditAction.ROLE_GRANTED, reason };
      await changes.changeAccount(userId, act, async (tx, account) => {
        if (account.role === wanted) return undefined;
        await requireOtherAdmin(tx, account);
        await tx.account.update({ where: { userId: account.userId }, data: { role: wanted } });
        const ended = await logins.end(tx, userId, { reason: "role" });
        return { detail: `${account.role} → ${wanted}`, ended };
      });
      return { account: await views.byId(userId) };
    },
  };
}
