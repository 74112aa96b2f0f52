import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { excerpt } from "#platform/excerpt.ts";
import type { Log } from "#platform/log.ts";
import { accountForChange, countAdmins, lockRolesAndStates } from "../accounts/account-states.ts";
import type { Accounts } from "../accounts/accounts.ts";
import type { Audit } from "../accounts/audit.ts";
import type { AuthConfig } from "../config.ts";
import type { Database } from "../database.ts";
import type { Logins } from "../logins/logins.ts";

/**
 * Makes the configured account an administrator while there is none, and audits it. When the
 * account does not exist or is disabled, it logs a warning and changes nothing. Instances that
 * start at the same time race for a lock, and only one of them grants the role.
 */
export async function appointFirstAdmin({
  accounts,
  audit,
  config,
  database,
  log,
  logins,
}: {
  accounts: Pick<Accounts, "byName">;
  audit: Audit;
  config: Pick<AuthConfig, "firstAdmin">;
  database: Database;
  log: Log;
  logins: Pick<Logins, "end" | "notifyRevoked">;
}): Promise<void> {
  const { firstAdmin } = config;
  if (firstAdmin === "") return;
  const found = await accounts.byName(firstAdmin);
  if (found?.state !== "active") {
    log.warn({ event: "first_admin_not_found", userName: excerpt(firstAdmin) });
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
