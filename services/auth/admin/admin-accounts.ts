import { create } from "@bufbuild/protobuf";
import { type Account, AccountSchema, AccountState, Role } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Account as AccountRow } from "#gen/prisma/client.ts";
import { fail } from "#platform/errors.ts";
import type { Role as RoleName } from "#platform/identity/caller.ts";
import { userOfAccount } from "../accounts/accounts.ts";
import { maskPhone } from "../accounts/phone.ts";
import type { AuthDependencies } from "../dependencies.ts";

const roles: Readonly<Record<string, Role>> = {
  user: Role.USER,
  bot: Role.BOT,
  operator: Role.OPERATOR,
  admin: Role.ADMIN,
} satisfies Record<RoleName, Role>;

const states: Readonly<Record<string, AccountState>> = {
  active: AccountState.ACTIVE,
  disabled: AccountState.DISABLED,
  deleted: AccountState.DELETED,
};

/** The role's name in the tables and tokens. Throws INVALID_ARGUMENT for none. */
export function roleNameOf(role: Role): RoleName {
  const found = Object.entries(roles).find(([, one]) => one === role);
  if (found) return found[0] as RoleName;
  throw fail(ErrorReason.INVALID_ARGUMENT, "role: no such role");
}

/** Shows accounts as operators see them. */
export interface AdminAccounts {
  /** In the order of the rows; two questions however many. */
  show(rows: readonly AccountRow[]): Promise<Account[]>;
  /** The account as it is now. Throws USER_NOT_FOUND. */
  byId(userId: string): Promise<Account>;
}

export function createAdminAccounts({
  accounts,
  clock,
  columns,
  database,
}: Pick<AuthDependencies, "accounts" | "clock" | "columns" | "database">): AdminAccounts {
  async function show(rows: readonly AccountRow[]): Promise<Account[]> {
    const userId = { in: rows.map((row) => row.userId) };
    const alive = {
      revokedAt: null,
      refreshTokens: { some: { expiresAt: { gt: new Date(clock.now()) } } },
    };
    const [devices, seen] = await Promise.all([
      database.login.groupBy({ by: ["userId"], where: { userId, ...alive }, _count: true }),
      database.login.groupBy({ by: ["userId"], where: { userId }, _max: { lastSeenAt: true } }),
    ]);
    const devicesOf = new Map(devices.map((one) => [one.userId, one._count]));
    const seenOf = new Map(seen.map((one) => [one.userId, one._max.lastSeenAt?.getTime() ?? 0]));
    return rows.map((row) =>
      create(AccountSchema, {
        user: userOfAccount(row),
        role: roles[row.role] ?? Role.UNSPECIFIED,
        state: states[row.state] ?? AccountState.UNSPECIFIED,
        maskedPhone: maskedPhoneOf(row),
        loggedInDevices: devicesOf.get(row.userId) ?? 0,
        lastSeenAtMs: BigInt(seenOf.get(row.userId) ?? 0),
      }),
    );
  }

  function maskedPhoneOf({ phone, userId }: AccountRow): string {
    if (!phone) return "";
    return maskPhone(columns.decrypt(phone, { column: "account.phone", row: String(userId) }));
  }

  return {
    show,
    async byId(userId) {
      const row = await accounts.byId(userId);
      if (!row) throw fail(ErrorReason.USER_NOT_FOUND, "there is no such user");
      const [shown] = await show([row]);
      return shown!;
    },
  };
}
