import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Account, Transaction } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";

/** How a number lies in the row of an account. */
export function phoneColumns(columns: ColumnEncryption, phone: string, userId: bigint) {
  return {
    phone: columns.encrypt(phone, { column: "account.phone", row: String(userId) }),
    phoneIndex: columns.blindIndex(phone, "account.phone"),
  };
}

/** The number of an account, in E.164; undefined for none. */
export function phoneOf(
  columns: ColumnEncryption,
  { phone, userId }: Pick<Account, "phone" | "userId">,
): string | undefined {
  if (phone === null) return undefined;
  return columns.decrypt(phone, { column: "account.phone", row: String(userId) });
}

/** The account that has the number, within the transaction that would give it to another one. */
export function ownerOf(tx: Transaction, columns: ColumnEncryption, phone: string) {
  const phoneIndex = { in: columns.blindIndexes(phone, "account.phone") };
  return tx.account.findFirst({ where: { phoneIndex } });
}

/** Thrown after the code was used up: only who proved the number learns it. */
export const phoneTaken = () =>
  fail(ErrorReason.PHONE_TAKEN, "the phone number belongs to another account");
