const encoder = new TextEncoder();
const ELLIPSIS = "…";
const ELLIPSIS_BYTES = 3;
/** Maximum bytes of UTF-8 for one UTF-16 code unit. */
const MAX_UNIT_BYTES = 3;

/**
 * The text itself when it has at most `maxBytes` bytes of UTF-8; otherwise its beginning and an
 * ellipsis, together at most `maxBytes`. For texts from outside, before they are logged or answered.
 */
export function excerpt(text: string, maxBytes = 128): string {
  if (text.length * MAX_UNIT_BYTES <= maxBytes) return text;
  const bytes = new Uint8Array(maxBytes);
  if (encoder.encodeInto(text, bytes).read === text.length) return text;
  const { read } = encoder.encodeInto(text, bytes.subarray(0, maxBytes - ELLIPSIS_BYTES));
  return text.slice(0, read) + ELLIPSIS;
}
