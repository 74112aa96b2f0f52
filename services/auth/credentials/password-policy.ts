import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { nameKey } from "../accounts/names.ts";
import { nationalPart } from "../accounts/phone.ts";
import type { AuthConfig } from "../config.ts";
import type { StrengthEstimator } from "./strength-estimator.ts";

/** Checks the strength of new passwords. */
export interface PasswordPolicy {
  /**
   * Throws PASSWORD_WEAK for a weak password. `words` are easy guesses for this account: its names
   * and its phone number. Also throws as `StrengthEstimator.score` does.
   */
  requireStrong(password: string, ...words: string[]): Promise<void>;
  /** Like `requireStrong`, before all calls that wait: in a transaction, which holds a connection. */
  requireStrongInTransaction(password: string, ...words: string[]): Promise<void>;
}

/** Maximum length of a password, characters. */
const MAX_LENGTH = 128;

/**
 * Checks length and the strength that zxcvbn estimates, without rules about kinds of characters.
 */
export function createPasswordPolicy(
  config: Pick<AuthConfig, "passwordMinLength" | "passwordMinScore">,
  estimator: Pick<StrengthEstimator, "score">,
): PasswordPolicy {
  const weak = (text: string) => fail(ErrorReason.PASSWORD_WEAK, text);
  async function check(password: string, words: string[], isUrgent: boolean): Promise<void> {
    const { passwordMinLength, passwordMinScore } = config;
    const { length } = [...password];
    if (length < passwordMinLength || length > MAX_LENGTH)
      throw weak(`a password has ${passwordMinLength} to ${MAX_LENGTH} characters`);
    const known = words.filter((word) => word !== "").flatMap(spellingsOf);
    if (known.some((word) => nameKey(word) === nameKey(password)))
      throw weak("the password is a name or the number of the account");
    // Every score passes: do not load the dictionaries.
    if (passwordMinScore === 0) return;
    const score = await estimator.score({ password, words: known }, { isUrgent });
    if (score < passwordMinScore) throw weak("the password is too easily guessed");
  }

  return {
    requireStrong: (password, ...words) => check(password, words, false),
    requireStrongInTransaction: (password, ...words) => check(password, words, true),
  };
}

/** The word and its spellings: a phone number also without its plus or country, or with a zero. */
function spellingsOf(word: string): string[] {
  const national = word.startsWith("+") ? nationalPart(word) : undefined;
  return national ? [word, word.slice(1), national, `0${national}`] : [word];
}
