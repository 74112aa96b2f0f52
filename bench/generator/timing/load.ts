/** How messages are sent. */
export type Load =
  /**
   * Closed loop: every device keeps `window` messages unanswered. A refused message is retried under its
   * key after the delay that the refusal gives.
   */
  | { readonly kind: "window"; readonly window: number }
  /** Open loop: `perSecond` messages, by all devices in turn, `burst` at a time. Refused ones are not retried. */
  | { readonly kind: "rate"; readonly perSecond: number; readonly burst: number }
  /** `window` bursts in flight; the next is sent when all devices have one. Shared numbers only. */
  | { readonly kind: "rounds"; readonly burst: number; readonly window: number };
