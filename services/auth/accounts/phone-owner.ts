import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Account, Transaction } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";

/** The columns that store a number: encrypted, and as a blind index. */
export function phoneColumns(columns: ColumnEncryption, phone: string, userId: bigint) {
  return {
    phone: columns.encrypt(phone, { column: "account.phone", row: String(userId) }),
    phoneIndex: columns.blindIndex(phone, "account.phone"),
  };
}

/** Decrypts the number of an account, E.164; undefined for none. */
export function phoneOf(
  columns: ColumnEncryption,
  { phone, userId }: Pick<Account, "phone" | "userId">,
): string | undefined {
  if (phone === null) return undefined;
  return columns.decrypt(phone, { column: "account.phone", row: String(userId) });
}

/** Reads the account that has the number, in the transaction that assigns the number. */
export function ownerOf(tx: Transaction, columns: ColumnEncryption, phone: string) {
  const phoneIndex = { in: columns.blindIndexes(phone, "account.phone") };
  return tx.account.findFirst({ where: { phoneIndex } });
}

/**
 * Throw only after the code was consumed: only a caller who proved the number may learn that it is
 * taken.
 */
export const phoneTaken = () =>
  fail(ErrorReason.PHONE_TAKEN, "the phone number belongs to another account");
