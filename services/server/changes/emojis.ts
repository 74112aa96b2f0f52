import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/** Maximum size of a reaction in UTF-8, bytes. */
const MAX_BYTES = 32;
/**
 * Exactly one emoji in its full form: also flags, keycaps, skin tones and joined ones. The short forms, without
 * the variation selector, are refused: they would be other reactions that look the same.
 */
const ONE_EMOJI = /^\p{RGI_Emoji}$/v;

/** Throws REACTION_INVALID unless each reaction is exactly one emoji. */
export function mustBeEmojis(reactions: readonly string[]): void {
  for (const [at, one] of reactions.entries()) {
    if (Buffer.byteLength(one) <= MAX_BYTES && ONE_EMOJI.test(one)) continue;
    const field = `emojis[${at}]`;
    const text = `${field}: must be exactly one emoji, fully qualified, of at most ${MAX_BYTES} bytes`;
    throw fail(ErrorReason.REACTION_INVALID, text, { field });
  }
}
