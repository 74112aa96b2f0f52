import { ZxcvbnFactory } from "@zxcvbn-ts/core";
import * as common from "@zxcvbn-ts/language-common";
import * as english from "@zxcvbn-ts/language-en";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { nameKey } from "../accounts/names.ts";
import { nationalPart } from "../accounts/phone.ts";
import type { AuthConfig } from "../config.ts";

/** Judges new passwords. */
export interface PasswordPolicy {
  /**
   * Throws PASSWORD_WEAK unless the password is worth hashing. `words` is what anybody would try
   * first on the account: its names, its phone number.
   */
  requireStrong(password: string, ...words: string[]): void;
}

const MAX_LENGTH = 128;
/**
 * So much of a password is judged, and so many of its characters are read as others (0 as o): the
 * estimate's cost grows fast with both, and it must not hold up everybody else. A password that is
 * strong up to there is strong.
 */
const cost = { maxLength: 32, l33tMaxSubstitutions: 8 };

/** Length and the strength that zxcvbn estimates; no rules about kinds of characters. */
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
      const known = words.filter((word) => word !== "").flatMap(waysToWrite);
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
  ...cost,
});

/** A number is typed with or without its plus, its country and the zero in front. */
function waysToWrite(word: string): string[] {
  const national = word.startsWith("+") ? nationalPart(word) : undefined;
  return national ? [word, word.slice(1), national, `0${national}`] : [word];
}
