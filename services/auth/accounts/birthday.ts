import { create } from "@bufbuild/protobuf";
import { DateSchema, type Date as Day } from "#gen/lucky/user/v1/user_pb.js";
import { invalidField } from "#platform/errors.ts";

/** Formats a date as "YYYY-MM-DD". Throws INVALID_ARGUMENT when the month has no such day. */
export function birthdayText({ year, month, day }: Day): string {
  const pad = (part: number, length: number) => String(part).padStart(length, "0");
  const text = `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
  // JavaScript rolls an invalid day over into the next month, so the text then differs.
  const normalized = new Date(Date.UTC(year, month - 1, day));
  if (normalized.toISOString().slice(0, text.length) === text) return text;
  throw invalidField("birthday", "the month has no such day");
}

/** Parses the output of `birthdayText`. */
export function birthdayOf(text: string): Day {
  const [year, month, day] = text.split("-").map(Number);
  return create(DateSchema, { year, month, day });
}
