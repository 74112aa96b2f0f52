/** How messages are sent. */
export type Load =
  /**
   * Every device keeps so many without an answer. A refused one comes again under its key, when the
   * refusal says.
   */
  | { readonly kind: "window"; readonly window: number }
  /** So many a second, in turn by all devices, `burst` at a time. A refused one is not repeated. */
  | { readonly kind: "rate"; readonly perSecond: number; readonly burst: number }
  /** So many bursts on their way; the next leaves when all devices have one. Shared numbers only. */
  | { readonly kind: "rounds"; readonly burst: number; readonly window: number };
