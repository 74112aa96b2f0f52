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

/** The columns of an account that are sealed under a data key. */
export const ENCRYPTED_COLUMNS = ["phone", "birthday", "location", "addAnswer"] as const;
export type EncryptedColumn = (typeof ENCRYPTED_COLUMNS)[number];

const columnNames: Record<EncryptedColumn, string> = {
  phone: "account.phone",
  birthday: "account.birthday",
  location: "account.location",
  addAnswer: "account.add_answer",
};

/** Where a sealed value of an account lies. */
export const cellOf = (column: EncryptedColumn, userId: bigint) => ({
  column: columnNames[column],
  row: String(userId),
});

/** What anybody may see of an account: what is not to be shown is not even opened. */
export function profileOf(account: Account, columns: ColumnEncryption): Profile {
  const user = userOfAccount(account);
  if (account.state === "deleted") return create(ProfileSchema, { user });
  const opened = opener(account, columns);
  const birthday = account.showBirthday ? opened("birthday") : "";
  const withQuestion = account.whoMayAddMe === WhoMayAddMe.WITH_QUESTION;
  return create(ProfileSchema, {
    user,
    gender: account.gender,
    birthday: birthday === "" ? undefined : birthdayOf(birthday),
    location: account.showLocation ? opened("location") : "",
    signature: account.signature,
    whoMayAddMe: account.whoMayAddMe,
    addQuestion: withQuestion ? account.addQuestion : "",
  });
}

/** What the account's own user sees: everything but the password. */
export function myProfileOf(account: Account, columns: ColumnEncryption): MyProfile {
  const { searchableByName, searchableByPhone, showBirthday, showLocation } = account;
  const opened = opener(account, columns);
  const shown = profileOf({ ...account, showBirthday: true, showLocation: true }, columns);
  return create(MyProfileSchema, {
    profile: { ...shown, addQuestion: account.addQuestion },
    phone: opened("phone"),
    hasPassword: account.passwordHash !== null,
    searchableByName,
    searchableByPhone,
    showBirthday,
    showLocation,
    addAnswer: opened("addAnswer"),
  });
}

/** Opens the account's sealed values; empty for none. */
function opener(account: Account, columns: ColumnEncryption): (column: EncryptedColumn) => string {
  return (column) => {
    const sealed = account[column];
    return sealed === null ? "" : columns.decrypt(sealed, cellOf(column, account.userId));
  };
}
