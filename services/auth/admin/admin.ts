import type { ServiceImpl } from "@connectrpc/connect";
import type { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import type { AuthDependencies } from "../dependencies.ts";
import { createAccountAccess } from "./account-access.ts";
import { createAccountSearch } from "./account-search.ts";
import { createAccountViews } from "./account-views.ts";
import { createAuditLog } from "./audit-log.ts";
import { createAuditedChanges } from "./audited-changes.ts";
import { createDevicePolicyMethods } from "./device-policy.ts";
import { createSetPassword } from "./set-password.ts";

/** Looks after accounts: one file each. */
export function createAdmin(d: AuthDependencies): ServiceImpl<typeof AdminService> {
  const parts = { shown: createAccountViews(d), changes: createAuditedChanges(d) };
  return {
    ...createAccountSearch(d, parts),
    ...createAccountAccess(d, parts),
    ...createSetPassword(d, parts),
    ...createAuditLog(d),
    ...createDevicePolicyMethods(d, parts),
  };
}
