import { create } from "@bufbuild/protobuf";
import {
  type MyProfile,
  MyProfileSchema,
  type Profile,
  ProfileSchema,
  WhoMayAddMe,
} from "#gen/lucky/user/v1/user_pb.js";
import type { Account } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { userOfAccount } from "./accounts.ts";
import { birthdayOf } from "./birthday.ts";

/** The columns of an account that are encrypted under a data key. */
export const ENCRYPTED_COLUMNS = ["phone", "birthday", "location", "addAnswer"] as const;
export type EncryptedColumn = (typeof ENCRYPTED_COLUMNS)[number];

const COLUMN_NAMES: Record<EncryptedColumn, string> = {
  phone: "account.phone",
  birthday: "account.birthday",
  location: "account.location",
  addAnswer: "account.add_answer",
};

/** The cell that stores an encrypted value of an account. */
export const cellOf = (column: EncryptedColumn, userId: bigint) => ({
  column: COLUMN_NAMES[column],
  row: String(userId),
});

/** The profile that every user may see. Hidden values are not even decrypted. */
export function profileOf(account: Account, columns: ColumnEncryption): Profile {
  const user = userOfAccount(account);
  if (account.state === "deleted") return create(ProfileSchema, { user });
  const decrypted = decrypterOf(account, columns);
  const birthday = account.showBirthday ? decrypted("birthday") : "";
  const withQuestion = account.whoMayAddMe === WhoMayAddMe.WITH_QUESTION;
  return create(ProfileSchema, {
    user,
    gender: account.gender,
    birthday: birthday === "" ? undefined : birthdayOf(birthday),
    location: account.showLocation ? decrypted("location") : "",
    signature: account.signature,
    whoMayAddMe: account.whoMayAddMe,
    addQuestion: withQuestion ? account.addQuestion : "",
  });
}

/** The profile for the account's own user: everything except the password. */
export function myProfileOf(account: Account, columns: ColumnEncryption): MyProfile {
  const { searchableByName, searchableByPhone, showBirthday, showLocation } = account;
  const decrypted = decrypterOf(account, columns);
  const shown = profileOf({ ...account, showBirthday: true, showLocation: true }, columns);
  return create(MyProfileSchema, {
    profile: { ...shown, addQuestion: account.addQuestion },
    phone: decrypted("phone"),
    hasPassword: account.passwordHash !== null,
    searchableByName,
    searchableByPhone,
    showBirthday,
    showLocation,
    addAnswer: decrypted("addAnswer"),
  });
}

/** Decrypts values of the account; null becomes an empty text. */
function decrypterOf(
  account: Account,
  columns: ColumnEncryption,
): (column: EncryptedColumn) => string {
  return (column) => {
    const encrypted = account[column];
    return encrypted === null ? "" : columns.decrypt(encrypted, cellOf(column, account.userId));
  };
}
