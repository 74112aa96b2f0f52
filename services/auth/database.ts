import { PrismaPg } from "@prisma/adapter-pg";
import { Prisma, PrismaClient } from "#gen/prisma/client.ts";
import type { Pool } from "#platform/postgres/pool.ts";

// Only this file imports Prisma and its generated client; the other files of auth import them from
// here.
export type {
  Account,
  Audit,
  Login,
  QrLogin,
  RefreshToken,
  SecurityNotice,
  SmsCode,
} from "#gen/prisma/client.ts";
export { Prisma };

/** auth's tables. */
export type Database = InstanceType<typeof PrismaClient>;
/** auth's tables, inside a transaction. */
export type Transaction = Prisma.TransactionClient;

/** Reaches the tables through connections of `pool`. The caller ends the pool. */
export function openDatabase(pool: Pool): Database {
  return new PrismaClient({
    adapter: new PrismaPg(pool),
    transactionOptions: { maxWait: 10_000, timeout: 15_000 },
  });
}
