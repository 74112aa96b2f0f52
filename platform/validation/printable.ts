import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/**
 * Bidirectional overrides and isolates: they reverse the text that follows, even outside the name.
 */
const BIDI_CONTROLS = "\\u202a-\\u202e\\u2066-\\u2069";
const UNPRINTABLE = new RegExp(`[\\p{Cc}${BIDI_CONTROLS}]`, "u");

/**
 * Throws INVALID_ARGUMENT when a text for display holds control characters. PostgreSQL cannot store
 * NUL, and other control characters make one name look like another. The marks that right-to-left
 * scripts need are allowed. `field` is the field name of the contract, such as "display_name".
 */
export function requirePrintable(field: string, text: string): void {
  if (UNPRINTABLE.test(text)) {
    throw fail(ErrorReason.INVALID_ARGUMENT, `${field}: must not hold control characters`);
  }
}
