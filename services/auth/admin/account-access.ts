import type { ServiceImpl } from "@connectrpc/connect";
import { type AdminService, AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { requireOtherAdmin } from "../accounts/account-states.ts";
import type { Logins } from "../logins/logins.ts";
import type { AccountViews } from "./account-views.ts";
import type { AuditedChanges } from "./audited-changes.ts";

/** Disables accounts, enables them, and logs their devices out. */
export function createAccountAccess({
  changes,
  clock,
  logins,
  views,
}: {
  changes: AuditedChanges;
  clock: Clock;
  logins: Pick<Logins, "end">;
  views: AccountViews;
}): Pick<ServiceImpl<typeof AdminService>, "disableAccount" | "enableAccount" | "forceLogout"> {
  return {
    async disableAccount({ userId, reason }, context) {
      const act = { context, action: AuditAction.ACCOUNT_DISABLED, reason };
      await changes.changeAccount(userId, act, async (tx, account) => {
        if (account.state === "disabled") return undefined;
        await requireOtherAdmin(tx, account);
        const stateChangedAt = new Date(clock.now());
        const data = { state: "disabled", stateChangedAt };
        await tx.account.update({ where: { userId: account.userId }, data });
        const ended = await logins.end(tx, userId, { reason: "disabled" });
        return { detail: "active → disabled", ended };
      });
      return { account: await views.byId(userId) };
    },

    async enableAccount({ userId, reason }, context) {
      const act = { context, action: AuditAction.ACCOUNT_ENABLED, reason };
      await changes.changeAccount(userId, act, async (tx, account) => {
        if (account.state === "active") return undefined;
        const stateChangedAt = new Date(clock.now());
        const data = { state: "active", stateChangedAt };
        await tx.account.update({ where: { userId: account.userId }, data });
        return { detail: "disabled → active" };
      });
      return { account: await views.byId(userId) };
    },

    async forceLogout({ userId, deviceId, reason }, context) {
      const act = { context, action: AuditAction.LOGGED_OUT, reason };
      await changes.changeAccount(userId, act, async (tx) => {
        const target = deviceId === "" ? {} : { deviceId };
        const ended = await logins.end(tx, userId, { reason: "forced", ...target });
        if (deviceId === "") return { detail: "all devices", ended };
        if (ended.length === 0) {
          // The rows of ended logins stay for a while, so that a retry is told from a wrong id.
          const past = { userId: BigInt(userId), deviceId };
          if ((await tx.login.count({ where: past })) > 0) return undefined;
          throw fail(ErrorReason.DEVICE_NOT_FOUND, "the user has no such device");
        }
        // The audit log does not name the device: its id is personal data of the user.
        return { detail: "one device", ended };
      });
      return { account: await views.byId(userId) };
    },
  };
}
