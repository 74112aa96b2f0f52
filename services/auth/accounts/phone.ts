import { parsePhoneNumberFromString } from "libphonenumber-js/max";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/** Kinds of numbers that no message reaches. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  "FIXED_LINE",
  "TOLL_FREE",
  "PREMIUM_RATE",
  "SHARED_COST",
  "PAGER",
  "VOICEMAIL",
  "UAN",
]);

/** The number in E.164, as the rules of its country write it. Throws PHONE_INVALID. */
export function normalizePhone(phone: string): string {
  const parsed = parsePhoneNumberFromString(phone);
  if (!parsed?.isValid() || UNREACHABLE.has(parsed.getType() ?? "")) {
    throw fail(ErrorReason.PHONE_INVALID, "phone: no number that messages can be sent to");
  }
  return parsed.number;
}

/** A number in E.164 without its country; undefined when it is none. */
export const nationalPart = (phone: string): string | undefined =>
  parsePhoneNumberFromString(phone)?.nationalNumber;

/** The last two digits, for people who look after accounts: "**78". */
export const maskPhone = (phone: string): string => `**${phone.slice(-2)}`;
