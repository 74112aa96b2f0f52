import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "./errors.ts";

/** Characters that turn round the text behind them, that of the page too. */
const TURNING = "\\u202a-\\u202e\\u2066-\\u2069";
const unprintable = new RegExp(`[\\p{Cc}${TURNING}]`, "u");

/**
 * Throws INVALID_ARGUMENT when a text that people will see holds control characters: PostgreSQL
 * cannot even store one of them, NUL, and others make a name read as another one. The marks that
 * right-to-left writing needs are none of them. `field` is the name of the contract, such as
 * "display_name".
 */
export function requirePrintable(field: string, text: string): void {
  if (unprintable.test(text)) {
    throw fail(ErrorReason.INVALID_ARGUMENT, `${field}: must not hold control characters`);
  }
}
