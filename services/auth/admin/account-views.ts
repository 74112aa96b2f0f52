import { create } from "@bufbuild/protobuf";
import { type Account, AccountSchema, AccountState, Role } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail, invalidField } from "#platform/errors.ts";
import type { Role as RoleName } from "#platform/identity/caller.ts";
import { type Accounts, userOfAccount } from "../accounts/accounts.ts";
import { maskPhone } from "../accounts/phone.ts";
import type { Account as AccountRow, Database } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";

const ROLES: Readonly<Record<string, Role>> = {
  user: Role.USER,
  bot: Role.BOT,
  operator: Role.OPERATOR,
  admin: Role.ADMIN,
} satisfies Record<RoleName, Role>;

const STATES: Readonly<Record<string, AccountState>> = {
  active: AccountState.ACTIVE,
  disabled: AccountState.DISABLED,
  deleted: AccountState.DELETED,
};

/** The role's name in tables and tokens. Throws INVALID_ARGUMENT for an unknown role. */
export function roleNameOf(role: Role): RoleName {
  const found = Object.entries(ROLES).find(([, one]) => one === role);
  if (found) return found[0] as RoleName;
  throw invalidField("role", "no such role");
}

/** Renders accounts as operators and administrators see them. */
export interface AccountViews {
  /** In the order of the rows. Takes two queries, however many rows there are. */
  of(rows: readonly AccountRow[]): Promise<Account[]>;
  /** The current state of an account. Throws USER_NOT_FOUND. */
  byId(userId: string): Promise<Account>;
}

export function createAccountViews({
  accounts,
  clock,
  columns,
  database,
}: {
  accounts: Pick<Accounts, "byId">;
  clock: Clock;
  columns: Pick<ColumnEncryption, "decrypt">;
  database: Database;
}): AccountViews {
  async function viewsOf(rows: readonly AccountRow[]): Promise<Account[]> {
    const userId = { in: rows.map((row) => row.userId) };
    const active = {
      revokedAt: null,
      refreshTokens: { some: { expiresAt: { gt: new Date(clock.now()) } } },
    };
    const [devices, lastSeen] = await Promise.all([
      database.login.groupBy({ by: ["userId"], where: { userId, ...active }, _count: true }),
      database.login.groupBy({ by: ["userId"], where: { userId }, _max: { lastSeenAt: true } }),
    ]);
    const devicesOf = new Map(devices.map((group) => [group.userId, group._count]));
    const lastSeenOf = new Map(
      lastSeen.map((group) => [group.userId, group._max.lastSeenAt?.getTime() ?? 0]),
    );
    return rows.map((row) =>
      create(AccountSchema, {
        user: userOfAccount(row),
        role: ROLES[row.role] ?? Role.UNSPECIFIED,
        state: STATES[row.state] ?? AccountState.UNSPECIFIED,
        maskedPhone: maskedPhoneOf(row),
        loggedInDevices: devicesOf.get(row.userId) ?? 0,
        lastSeenAtMs: BigInt(lastSeenOf.get(row.userId) ?? 0),
      }),
    );
  }

  function maskedPhoneOf({ phone, userId }: AccountRow): string {
    if (!phone) return "";
    return maskPhone(columns.decrypt(phone, { column: "account.phone", row: String(userId) }));
  }

  return {
    of: viewsOf,
    async byId(userId) {
      const row = await accounts.byId(userId);
      if (!row) throw fail(ErrorReason.USER_NOT_FOUND, "there is no such user");
      const [view] = await viewsOf([row]);
      return view!;
    },
  };
}
