import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { DateSchema, type Date as Day } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";

/** The day as it is sealed, "YYYY-MM-DD". Throws INVALID_ARGUMENT for one that its month lacks. */
export function birthdayText({ year, month, day }: Day): string {
  const pad = (part: number, length: number) => String(part).padStart(length, "0");
  const text = `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
  // A day too many rolls over into the next month.
  const real = new Date(Date.UTC(year, month - 1, day));
  if (real.toISOString().slice(0, text.length) === text) return text;
  throw fail(ErrorReason.INVALID_ARGUMENT, "birthday: the month has no such day");
}

/** The day that was sealed. */
export function birthdayOf(text: string): Day {
  const [year, month, day] = text.split("-").map(Number);
  return create(DateSchema, { year, month, day });
}
