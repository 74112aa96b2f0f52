import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type User, UserSchema } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { type Account, type Database, Prisma, type Transaction } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { nameKey, requireVisible, shapesOf } from "./names.ts";

/** The initial columns of an account. All others get the defaults of the table. */
export type NewAccount = Omit<Prisma.AccountUncheckedCreateInput, "userNameKey" | "role" | "state">;

/** Accounts by id and by name. Ids are decimal strings. */
export interface Accounts {
  /**
   * Creates an account, in the transaction `tx` if given. Throws USER_NAME_TAKEN, also for another
   * spelling of a taken name; USER_NAME_CONFUSABLE for a name that is confusable with a taken one;
   * PHONE_TAKEN; UNAVAILABLE for a taken id; INVALID_ARGUMENT for a name with invisible characters.
   */
  create(account: NewAccount, tx?: Transaction): Promise<Account>;
  byId(userId: string): Promise<Account | undefined>;
  /** Finds an account by any spelling of its name. */
  byName(userName: string): Promise<Account | undefined>;
  /** Finds an account by its phone number, in E.164. */
  byPhone(phone: string): Promise<Account | undefined>;
  /** The existing accounts, without duplicates, in the order of the ids. */
  byIds(userIds: readonly string[]): Promise<Account[]>;
  /** The existing accounts that are not deleted, without duplicates. */
  existing(userIds: readonly string[]): Promise<{ userId: string; disabled: boolean }[]>;
}

const UNIQUE_VIOLATION = "P2002";

export function createAccounts({
  database,
  columns,
}: {
  database: Database;
  columns: ColumnEncryption;
}): Accounts {
  async function insert(tx: Transaction, account: NewAccount): Promise<Account> {
    requireVisible(account.userName);
    const userNameKey = nameKey(account.userName);
    const shapes = shapesOf(account.userName);
    // Query the shapes before the name. A race with a registration of the same name then always
    // ends with USER_NAME_TAKEN, because shapes and name are committed together.
    const confusable = await tx.nameShape.findFirst({ where: { shape: { in: shapes } } });
    if (await tx.account.findUnique({ where: { userNameKey }, select: { userId: true } }))
      throw fail(ErrorReason.USER_NAME_TAKEN, "the user name is taken");
    if (confusable)
      throw fail(ErrorReason.USER_NAME_CONFUSABLE, "the user name can be mistaken for a taken one");
    try {
      const created = await tx.account.create({ data: { ...account, userNameKey } });
      const { userId } = created;
      await tx.nameShape.createMany({ data: shapes.map((shape) => ({ shape, userId })) });
      return created;
    } catch (error) {
      throw refusalOfViolation(error) ?? error;
    }
  }
  const ids = (userIds: readonly string[]) => [...new Set(userIds)].map(BigInt);
  return {
    create(account, tx) {
      return tx ? insert(tx, account) : database.$transaction((own) => insert(own, account));
    },
    async byId(userId) {
      const found = await database.account.findUnique({ where: { userId: BigInt(userId) } });
      return found ?? undefined;
    },
    async byName(userName) {
      // PostgreSQL refuses text with NUL, and no name contains it.
      if (userName.includes("\0")) return undefined;
      const where = { userNameKey: nameKey(userName) };
      return (await database.account.findUnique({ where })) ?? undefined;
    },
    async byPhone(phone) {
      const phoneIndex = { in: columns.blindIndexes(phone, "account.phone") };
      return (await database.account.findFirst({ where: { phoneIndex } })) ?? undefined;
    },
    async byIds(userIds) {
      const wanted = ids(userIds);
      const found = await database.account.findMany({ where: { userId: { in: wanted } } });
      const byId = new Map(found.map((account) => [account.userId, account]));
      return wanted.flatMap((userId) => byId.get(userId) ?? []);
    },
    async existing(userIds) {
      const where = { userId: { in: ids(userIds) }, state: { not: "deleted" } };
      const select = { userId: true, state: true };
      const found = await database.account.findMany({ where, select });
      return found.map(({ userId, state }) => ({
        userId: String(userId),
        disabled: state === "disabled",
      }));
    },
  };
}

/** Maps a violated unique constraint, the result of a lost race, to its refusal. */
function refusalOfViolation(cause: unknown): Error | undefined {
  const known = cause instanceof Prisma.PrismaClientKnownRequestError;
  if (!known || cause.code !== UNIQUE_VIOLATION) return undefined;
  const detail = JSON.stringify(cause.meta ?? {});
  if (detail.includes("phone_index"))
    return fail(ErrorReason.PHONE_TAKEN, "the phone number belongs to another account", { cause });
  // The id was free when it was made: an almost impossible race.
  if (detail.includes("account_pkey"))
    return fail(ErrorReason.UNAVAILABLE, "the id is taken", { retryAfterMs: 100, cause });
  if (detail.includes("shape"))
    return fail(ErrorReason.USER_NAME_CONFUSABLE, "the user name can be mistaken for a taken one", {
      cause,
    });
  return fail(ErrorReason.USER_NAME_TAKEN, "the user name is taken", { cause });
}

/** The part of an account that every user may see. */
export function userOfAccount(account: Account): User {
  return create(UserSchema, {
    userId: String(account.userId),
    userName: account.userName,
    displayName: account.displayName,
    createdAtMs: BigInt(account.createdAt.getTime()),
    avatar: account.avatar,
    deleted: account.state === "deleted",
    bot: account.role === "bot",
  });
}
