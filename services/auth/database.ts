import { PrismaPg } from "@prisma/adapter-pg";
import type pg from "pg";
import { type Prisma, PrismaClient } from "#gen/prisma/client.ts";

/** auth's tables. */
export type Database = InstanceType<typeof PrismaClient>;
/** auth's tables, inside a transaction. */
export type Transaction = Prisma.TransactionClient;

/** Reaches the tables through connections of `pool`, which stays the caller's to end. */
export function openDatabase(pool: pg.Pool): Database {
  return new PrismaClient({
    adapter: new PrismaPg(pool),
    transactionOptions: { maxWait: 10_000, timeout: 15_000 },
  });
}

export type { Account, Login, QrLogin, RefreshToken } from "#gen/prisma/client.ts";
export { Prisma } from "#gen/prisma/client.ts";
