import type { ServiceImpl } from "@connectrpc/connect";
import { type AdminService, AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { requireOtherAdmin } from "../accounts/account-states.ts";
import { phoneOf } from "../accounts/phone-owner.ts";
import { createPasswordPolicy } from "../credentials/password-policy.ts";
import type { AuthDependencies } from "../dependencies.ts";
import { type AccountViews, roleNameOf } from "./account-views.ts";
import type { AuditedChanges } from "./audited-changes.ts";

/** What administrators alone do to accounts: passwords and roles. */
export function createSetPassword(
  d: AuthDependencies,
  { shown, changes }: { shown: AccountViews; changes: AuditedChanges },
): Pick<ServiceImpl<typeof AdminService>, "setPassword" | "grantRole"> {
  const { requireStrong } = createPasswordPolicy(d.config);
  return {
    async setPassword({ userId, newPassword, reason }, context) {
      const [password] = await d.passwords.decrypt(newPassword);
      const target = await d.accounts.byId(userId);
      if (!target || target.state === "deleted")
        throw fail(ErrorReason.USER_NOT_FOUND, "there is no such user");
      const number = phoneOf(d.columns, target) ?? "";
      requireStrong(password, target.userName, target.displayName, number);
      const passwordHash = await d.passwords.hash(password);
      const act = { context, action: AuditAction.PASSWORD_SET, reason };
      await changes.changeAccount(userId, act, async (tx, account) => {
        // The time of the password lifts the lock, too.
        const data = { passwordHash, passwordChangedAt: new Date(d.clock.now()) };
        await tx.account.update({ where: { userId: account.userId }, data });
        const ended = await d.logins.end(tx, userId, { reason: "password" });
        return { detail: account.passwordHash ? "changed" : "first one", ended };
      });
      return { account: await shown.byId(userId) };
    },

    async grantRole({ userId, role, reason }, context) {
      const wanted = roleNameOf(role);
      const act = { context, action: AuditAction.ROLE_GRANTED, reason };
      await changes.changeAccount(userId, act, async (tx, account) => {
        if (account.role === wanted) return undefined;
        await requireOtherAdmin(tx, account);
        await tx.account.update({ where: { userId: account.userId }, data: { role: wanted } });
        const ended = await d.logins.end(tx, userId, { reason: "role" });
        return { detail: `${account.role} → ${wanted}`, ended };
      });
      return { account: await shown.byId(userId) };
    },
  };
}
