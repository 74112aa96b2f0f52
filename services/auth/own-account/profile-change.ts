import { type UpdateProfileRequest, WhoMayAddMe } from "#gen/lucky/user/v1/user_pb.js";
import { invalidField } from "#platform/errors.ts";
import { birthdayText } from "../accounts/birthday.ts";
import { cellOf, type EncryptedColumn } from "../accounts/shown-profile.ts";
import type { Account, Prisma } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { displayNameOf } from "../registration/registration.ts";

type Change = Prisma.AccountUncheckedUpdateInput;

/**
 * Computes the changed columns of an account from a request. Absent fields stay unchanged; an empty
 * text clears its field. Throws INVALID_ARGUMENT for an invalid date, a birthday that is both set and
 * cleared, and a missing question when who_may_add_me requires one.
 */
export function profileChange(
  request: UpdateProfileRequest,
  account: Account,
  columns: ColumnEncryption,
): Change {
  const { birthday, clearBirthday } = request;
  if (birthday && clearBirthday)
    throw invalidField("clear_birthday", "must not be set together with a birthday");
  const encrypt = (column: EncryptedColumn, text: string | undefined) => {
    if (text === undefined) return undefined;
    return text === "" ? null : columns.encrypt(text, cellOf(column, account.userId));
  };
  const { displayName } = request;
  const { avatar, gender, whoMayAddMe } = request;
  const { searchableByName, searchableByPhone, showBirthday, showLocation } = request;
  const addQuestion = request.addQuestion?.trim();
  requireQuestion({ ...account, ...(whoMayAddMe && { whoMayAddMe }) }, addQuestion);
  // Prisma leaves a column unchanged when its value is undefined.
  return {
    displayName:
      displayName === undefined ? undefined : displayNameOf(displayName, account.userName),
    avatar,
    gender,
    birthday: encrypt("birthday", clearBirthday ? "" : birthday && birthdayText(birthday)),
    location: encrypt("location", request.location?.trim()),
    signature: request.signature?.trim(),
    whoMayAddMe,
    addQuestion,
    addAnswer: encrypt("addAnswer", request.addAnswer?.trim()),
    searchableByName,
    searchableByPhone,
    showBirthday,
    showLocation,
  };
}

function requireQuestion(
  changed: Pick<Account, "whoMayAddMe" | "addQuestion">,
  newQuestion: string | undefined,
): void {
  if (changed.whoMayAddMe !== WhoMayAddMe.WITH_QUESTION) return;
  if ((newQuestion ?? changed.addQuestion) !== "") return;
  throw invalidField("add_question", "needed while who_may_add_me requires a question");
}
