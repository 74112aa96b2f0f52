/** How messages are sent. */
export type Load =
  /**
   * Closed loop: every device keeps `window` messages unanswered. A refused message is retried under its key
   * after the retry delay of the refusal.
   */
  | { readonly kind: "window"; readonly window: number }
  /**
   * Open loop: `perSecond` messages, from all devices round robin, `burst` at a time. Refused messages are
   * not retried.
   */
  | { readonly kind: "rate"; readonly perSecond: number; readonly burst: number }
  /**
   * `window` bursts are in flight; the next one is sent when all devices have received one. Only for shared
   * numbers.
   */
  | { readonly kind: "rounds"; readonly burst: number; readonly window: number };
