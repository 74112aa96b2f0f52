import { parentPort } from "node:worker_threads";
import { ZxcvbnFactory } from "@zxcvbn-ts/core";
import * as common from "@zxcvbn-ts/language-common";
import * as english from "@zxcvbn-ts/language-en";

/** A message to the thread of `strength-estimator.ts`. The thread answers each with the score. */
export interface Estimate {
  readonly password: string;
  /** Easy guesses for this password. */
  readonly words: readonly string[];
}

/**
 * Bounds of zxcvbn's estimate: characters of the password that it reads, and substitutions that it
 * tries (0 for o). The cost grows with the square of the length or faster; within these bounds it
 * is up to a quarter of a second. Reading only the beginning is safe: a password with a strong
 * beginning is strong.
 */
const ESTIMATE_BOUNDS = { maxLength: 32, l33tMaxSubstitutions: 8 };

const zxcvbn = new ZxcvbnFactory({
  dictionary: { ...common.dictionary, ...english.dictionary },
  graphs: common.adjacencyGraphs,
  ...ESTIMATE_BOUNDS,
});

parentPort?.on("message", ({ password, words }: Estimate) => {
  parentPort?.postMessage(zxcvbn.check(password, [...words]).score);
});
