import { ErrorReason } from "../gen/lucky/error/v1/error_pb.js";
import { fail } from "./errors.ts";

/**
 * Throws INVALID_ARGUMENT when a text that people will see holds control characters. PostgreSQL
 * cannot even store one of them, NUL. `field` is the name of the contract, such as "display_name".
 */
export function requirePrintable(field: string, text: string): void {
  if (/\p{Cc}/u.test(text)) {
    throw fail(ErrorReason.INVALID_ARGUMENT, `${field}: must not hold control characters`);
  }
}
