import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Account, Transaction } from "../database.ts";
import type { Columns } from "../keys/columns.ts";

/** How a number lies in the row of an account. */
export function phoneColumns(columns: Columns, phone: string, userId: bigint) {
  return {
    phone: columns.seal(phone, { column: "account.phone", row: String(userId) }),
    phoneIndex: columns.index(phone, "account.phone"),
  };
}

/** The number of an account, in E.164; undefined for none. */
export function phoneOf(
  columns: Columns,
  { phone, userId }: Pick<Account, "phone" | "userId">,
): string | undefined {
  if (phone === null) return undefined;
  return columns.open(phone, { column: "account.phone", row: String(userId) });
}

/** The account that has the number, within the transaction that would give it to another one. */
export function ownerOf(tx: Transaction, columns: Columns, phone: string) {
  const phoneIndex = { in: columns.indexes(phone, "account.phone") };
  return tx.account.findFirst({ where: { phoneIndex } });
}

/** Thrown after the code was used up: only who proved the number learns it. */
export const phoneTaken = () =>
  fail(ErrorReason.PHONE_TAKEN, "the phone number belongs to another account");
