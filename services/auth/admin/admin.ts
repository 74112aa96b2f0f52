import type { ServiceImpl } from "@connectrpc/connect";
import type { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import type { AuthDependencies } from "../dependencies.ts";
import { createAdminAccounts } from "./admin-accounts.ts";
import { createAdminAudit } from "./admin-audit.ts";
import { createChanges } from "./admin-change.ts";
import { createAdminDevices } from "./admin-devices.ts";
import { createAdminFind } from "./admin-find.ts";
import { createAdminRoles } from "./admin-roles.ts";
import { createAdminStates } from "./admin-states.ts";

/** Looks after accounts: one file each. */
export function createAdmin(d: AuthDependencies): ServiceImpl<typeof AdminService> {
  const parts = { shown: createAdminAccounts(d), changes: createChanges(d) };
  return {
    ...createAdminFind(d, parts),
    ...createAdminStates(d, parts),
    ...createAdminRoles(d, parts),
    ...createAdminAudit(d),
    ...createAdminDevices(d, parts),
  };
}
