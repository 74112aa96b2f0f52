import type { ServiceImpl } from "@connectrpc/connect";
import { type AdminService, AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { phoneOf } from "../accounts/phone-owner.ts";
import type { PasswordPolicy } from "../credentials/password-policy.ts";
import type { Passwords } from "../credentials/passwords.ts";
import type { ProvenChanges } from "../credentials/proven-changes.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import type { Logins } from "../logins/logins.ts";
import type { SecurityNotices } from "../notices/security-notices.ts";
import type { AccountViews } from "./account-views.ts";
import type { AuditedChanges } from "./audited-changes.ts";

/** Sets the password of an account and ends all its logins. */
export function createSetPassword({
  accounts,
  changes,
  clock,
  columns,
  logins,
  notices,
  passwordPolicy,
  passwords,
  provenChanges,
  views,
}: {
  accounts: Pick<Accounts, "byId">;
  changes: AuditedChanges;
  clock: Clock;
  columns: ColumnEncryption;
  logins: Pick<Logins, "end">;
  notices: Pick<SecurityNotices, "record">;
  passwordPolicy: PasswordPolicy;
  passwords: Pick<Passwords, "decrypt" | "hash">;
  provenChanges: Pick<ProvenChanges, "require">;
  views: AccountViews;
}): Pick<ServiceImpl<typeof AdminService>, "setPassword"> {
  return {
    async setPassword({ userId, newPassword, reason, proof }, context) {
      const [password] = await passwords.decrypt(newPassword);
      await provenChanges.require(context, { proof, accepts: "any" });
      const target = await accounts.byId(userId);
      if (!target || target.state === "deleted")
        throw fail(ErrorReason.USER_NOT_FOUND, "there is no such user");
      const number = phoneOf(columns, target) ?? "";
      await passwordPolicy.requireStrong(password, target.userName, target.displayName, number);
      const passwordHash = await passwords.hash(password);
      const act = { context, action: AuditAction.PASSWORD_SET, reason };
      await changes.changeAccount(userId, act, async (tx, account) => {
        // The new time also lifts the brute-force lock, because it is part of the key that failures
        // are counted by.
        const data = { passwordHash, passwordChangedAt: new Date(clock.now()) };
        await tx.account.update({ where: { userId: account.userId }, data });
        const ended = await logins.end(tx, userId, { reason: "password" });
        // Not sent: no device is left. The notice does not contain the network of the administrator.
        await notices.record(tx, { userId, kind: SecurityNoticeKind.PASSWORD_CHANGED });
        return { detail: account.passwordHash ? "changed" : "first one", ended };
      });
      return { account: await views.byId(userId) };
    },
  };
}
