import { ZxcvbnFactory } from "@zxcvbn-ts/core";
import * as common from "@zxcvbn-ts/language-common";
import * as english from "@zxcvbn-ts/language-en";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { nameKey } from "../accounts/names.ts";
import { nationalPart } from "../accounts/phone.ts";
import type { AuthConfig } from "../config.ts";

/** Checks the strength of new passwords. */
export interface PasswordPolicy {
  /**
   * Throws PASSWORD_WEAK for a weak password. `words` are easy guesses for this account: its names
   * and its phone number.
   */
  requireStrong(password: string, ...words: string[]): void;
}

/** Maximum length of a password, characters. */
const MAX_LENGTH = 128;
/**
 * Bounds of zxcvbn's estimate: characters of the password that it reads, and substitutions that it
 * tries (0 for o). The cost grows fast with both and must not block the event loop. Reading only
 * the beginning is safe: a password with a strong beginning is strong.
 */
const ESTIMATE_BOUNDS = { maxLength: 32, l33tMaxSubstitutions: 8 };

/**
 * Checks length and the strength that zxcvbn estimates, without rules about kinds of characters.
 */
export function createPasswordPolicy(
  config: Pick<AuthConfig, "passwordMinLength" | "passwordMinScore">,
): PasswordPolicy {
  const { passwordMinLength, passwordMinScore } = config;
  const weak = (text: string) => fail(ErrorReason.PASSWORD_WEAK, text);
  return {
    requireStrong(password, ...words) {
      const { length } = [...password];
      if (length < passwordMinLength || length > MAX_LENGTH)
        throw weak(`a password has ${passwordMinLength} to ${MAX_LENGTH} characters`);
      const known = words.filter((word) => word !== "").flatMap(spellingsOf);
      if (known.some((word) => nameKey(word) === nameKey(password)))
        throw weak("the password is a name or the number of the account");
      if (estimator.check(password, known).score < passwordMinScore)
        throw weak("the password is too easily guessed");
    },
  };
}

const estimator = new ZxcvbnFactory({
  dictionary: { ...common.dictionary, ...english.dictionary },
  graphs: common.adjacencyGraphs,
  ...ESTIMATE_BOUNDS,
});

/** The word and its spellings: a phone number also without its plus or country, or with a zero. */
function spellingsOf(word: string): string[] {
  const national = word.startsWith("+") ? nationalPart(word) : undefined;
  return national ? [word, word.slice(1), national, `0${national}`] : [word];
}
