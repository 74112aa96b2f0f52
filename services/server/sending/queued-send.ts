import type { Span } from "#platform/tracing/traces.ts";
import type { AddressedSend } from "./duplicates.ts";
import type { Outcome } from "./outcome.ts";

/** A send that waits to be appended. */
export interface QueuedSend extends AddressedSend {
  /** Whether its batch has answered it already. */
  answered: boolean;
  /** Number of its waits for a look-up of the other user. */
  checks: number;
  /** Whether the message that it replies to was found; unchecked for a send that replies to nothing. */
  reply: "unchecked" | "valid" | "invalid";
  /** Span of its call; undefined when the call is not traced. */
  readonly span: Span | undefined;
  /** Reports the outcome. Called once. */
  answer(outcome: Outcome): void;
}
