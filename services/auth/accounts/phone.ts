import { parsePhoneNumberFromString } from "libphonenumber-js/max";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/** Types of numbers that cannot receive messages. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  "FIXED_LINE",
  "TOLL_FREE",
  "PREMIUM_RATE",
  "SHARED_COST",
  "PAGER",
  "VOICEMAIL",
  "UAN",
]);

/** Converts a number to E.164 by the rules of its country. Throws PHONE_INVALID. */
export function normalizePhone(phone: string): string {
  const parsed = parsePhoneNumberFromString(phone);
  if (!parsed?.isValid() || UNREACHABLE.has(parsed.getType() ?? "")) {
    throw fail(ErrorReason.PHONE_INVALID, "phone: not a number that can receive messages");
  }
  return parsed.number;
}

/** An E.164 number without its country code; undefined when the number is invalid. */
export const nationalPart = (phone: string): string | undefined =>
  parsePhoneNumberFromString(phone)?.nationalNumber;

/** The last two digits, for operators: "**78". */
export const maskPhone = (phone: string): string => `**${phone.slice(-2)}`;
