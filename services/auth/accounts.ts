import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { type User, UserSchema } from "../../gen/lucky/user/v1/user_pb.js";
import { type Account, Prisma } from "../../gen/prisma/client.ts";
import { fail } from "../../platform/errors.ts";
import type { Database } from "./database.ts";
import { nameKey } from "./names.ts";

/** Accounts by id and by name. Ids are decimal strings. */
export interface Accounts {
  /** Throws USER_NAME_TAKEN, also for another spelling of a taken name. */
  create(account: Omit<Account, "userNameKey" | "role">): Promise<Account>;
  byId(userId: string): Promise<Account | undefined>;
  /** By any spelling of the name. */
  byName(userName: string): Promise<Account | undefined>;
  /** Those that exist, each once, in the order of the ids. */
  byIds(userIds: readonly string[]): Promise<Account[]>;
  /** The ids of those that exist, each once. */
  existing(userIds: readonly string[]): Promise<string[]>;
}

const UNIQUE_VIOLATION = "P2002";

export function createAccounts(database: Database): Accounts {
  const ids = (userIds: readonly string[]) => [...new Set(userIds)].map(BigInt);
  return {
    async create(account) {
      try {
        const data = { ...account, userNameKey: nameKey(account.userName) };
        return await database.account.create({ data });
      } catch (error) {
        const known = error instanceof Prisma.PrismaClientKnownRequestError;
        if (known && error.code === UNIQUE_VIOLATION)
          throw fail(ErrorReason.USER_NAME_TAKEN, "the user name is taken", { cause: error });
        throw error;
      }
    },
    async byId(userId) {
      const found = await database.account.findUnique({ where: { userId: BigInt(userId) } });
      return found ?? undefined;
    },
    async byName(userName) {
      // Nobody has such a name, and PostgreSQL takes no text with it.
      if (userName.includes("\0")) return undefined;
      const where = { userNameKey: nameKey(userName) };
      return (await database.account.findUnique({ where })) ?? undefined;
    },
    async byIds(userIds) {
      const wanted = ids(userIds);
      const found = await database.account.findMany({ where: { userId: { in: wanted } } });
      const byId = new Map(found.map((account) => [account.userId, account]));
      return wanted.flatMap((userId) => byId.get(userId) ?? []);
    },
    async existing(userIds) {
      const where = { userId: { in: ids(userIds) } };
      const found = await database.account.findMany({ where, select: { userId: true } });
      return found.map(({ userId }) => String(userId));
    },
  };
}

/** What others may see of an account. */
export function userOfAccount(account: Account): User {
  return create(UserSchema, {
    userId: String(account.userId),
    userName: account.userName,
    displayName: account.displayName,
    createdAtMs: BigInt(account.createdAt.getTime()),
  });
}
