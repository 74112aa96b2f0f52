import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { accountForChange, countAdmins, lockRolesAndStates } from "../accounts/account-states.ts";
import type { AuthDependencies } from "../dependencies.ts";

/**
 * Makes the configured account administrator when there is none, and audits it. Does nothing, and
 * says so in the log, when the account does not exist or is disabled.
 */
export async function appointFirstAdmin({
  accounts,
  audit,
  config,
  database,
  log,
  logins,
}: Pick<
  AuthDependencies,
  "accounts" | "audit" | "config" | "database" | "log" | "logins"
>): Promise<void> {
  const { firstAdmin } = config;
  if (firstAdmin === "") return;
  const found = await accounts.byName(firstAdmin);
  if (found?.state !== "active") {
    log.warn({ event: "first_admin_not_found", userName: firstAdmin });
    return;
  }
  const userId = String(found.userId);
  const ended = await database.$transaction(async (tx) => {
    await lockRolesAndStates(tx);
    if ((await countAdmins(tx)) > 0) return undefined;
    const { role, state } = await accountForChange(tx, userId);
    if (state !== "active") return undefined;
    await tx.account.update({ where: { userId: found.userId }, data: { role: "admin" } });
    const detail = `${role} → admin`;
    await audit.write(tx, { actorId: "0", action: AuditAction.ROLE_GRANTED, userId, detail });
    return logins.end(tx, userId, { reason: "role" });
  });
  if (!ended) return;
  log.info({ event: "first_admin_appointed", userId });
  logins.notifyRevoked(ended);
}
