import type { ServiceImpl } from "@connectrpc/connect";
import type { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Accounts } from "../accounts/accounts.ts";
import type { PasswordPolicy } from "../credentials/password-policy.ts";
import type { Passwords } from "../credentials/passwords.ts";
import type { ProvenChanges } from "../credentials/proven-changes.ts";
import type { Database } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import type { DevicePolicy } from "../logins/device-policy.ts";
import type { Logins } from "../logins/logins.ts";
import type { SecurityNotices } from "../notices/security-notices.ts";
import { createAccountAccess } from "./account-access.ts";
import { createAccountSearch } from "./account-search.ts";
import { createAccountViews } from "./account-views.ts";
import { createAuditLog } from "./audit-log.ts";
import type { AuditedChanges } from "./audited-changes.ts";
import { createDevicePolicyMethods } from "./device-policy.ts";
import { createGrantRole } from "./grant-role.ts";
import { createSetPassword } from "./set-password.ts";

/** AdminService: account management for operators and administrators. */
export function createAdmin({
  accounts,
  changes,
  clock,
  columns,
  database,
  devicePolicy,
  logins,
  notices,
  passwordPolicy,
  passwords,
  provenChanges,
}: {
  accounts: Accounts;
  changes: AuditedChanges;
  clock: Clock;
  columns: ColumnEncryption;
  database: Database;
  devicePolicy: DevicePolicy;
  logins: Logins;
  notices: SecurityNotices;
  passwordPolicy: PasswordPolicy;
  passwords: Passwords;
  provenChanges: ProvenChanges;
}): ServiceImpl<typeof AdminService> {
  const views = createAccountViews({ accounts, clock, columns, database });
  return {
    ...createAccountSearch({ accounts, changes, database, views }),
    ...createAccountAccess({ changes, clock, logins, views }),
    ...createSetPassword({
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
    }),
    ...createGrantRole({ changes, logins, provenChanges, views }),
    ...createAuditLog({ database }),
    ...createDevicePolicyMethods({ changes, devicePolicy }),
  };
}
