import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type UpdateProfileRequest, WhoMayAddMe } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { requirePrintable } from "#platform/printable.ts";
import { birthdayText } from "../accounts/birthday.ts";
import { cellOf, type EncryptedColumn } from "../accounts/shown-profile.ts";
import type { Account, Prisma } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { displayNameOf } from "../registration/registration.ts";

type Change = Prisma.AccountUncheckedUpdateInput;

/**
 * What a request changes of an account. Fields that are absent stay; a present empty text clears its
 * field. Throws INVALID_ARGUMENT for control characters, a day that does not exist, a birthday both
 * given and cleared, and a question that is asked for but not there.
 */
export function profileChange(
  request: UpdateProfileRequest,
  account: Account,
  columns: ColumnEncryption,
): Change {
  const { birthday, clearBirthday } = request;
  if (birthday && clearBirthday)
    throw fail(ErrorReason.INVALID_ARGUMENT, "clear_birthday: it must not come with a birthday");
  const seal = (column: EncryptedColumn, text: string | undefined) => {
    if (text === undefined) return undefined;
    return text === "" ? null : columns.encrypt(text, cellOf(column, account.userId));
  };
  const { displayName } = request;
  const { avatar, gender, whoMayAddMe } = request;
  const { searchableByName, searchableByPhone, showBirthday, showLocation } = request;
  const addQuestion = textOf("add_question", request.addQuestion);
  requireQuestion({ ...account, ...(whoMayAddMe && { whoMayAddMe }) }, addQuestion);
  // Undefined leaves a column as it is.
  return {
    displayName:
      displayName === undefined ? undefined : displayNameOf(displayName, account.userName),
    avatar,
    gender,
    birthday: seal("birthday", clearBirthday ? "" : birthday && birthdayText(birthday)),
    location: seal("location", textOf("location", request.location)),
    signature: textOf("signature", request.signature),
    whoMayAddMe,
    addQuestion,
    addAnswer: seal("addAnswer", textOf("add_answer", request.addAnswer)),
    searchableByName,
    searchableByPhone,
    showBirthday,
    showLocation,
  };
}

/** Without the blanks around it. */
function textOf(field: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  requirePrintable(field, text);
  return text.trim();
}

function requireQuestion(
  after: Pick<Account, "whoMayAddMe" | "addQuestion">,
  asked: string | undefined,
): void {
  if (after.whoMayAddMe !== WhoMayAddMe.WITH_QUESTION) return;
  if ((asked ?? after.addQuestion) !== "") return;
  throw fail(ErrorReason.INVALID_ARGUMENT, "add_question: needed while who_may_add_me asks one");
}
