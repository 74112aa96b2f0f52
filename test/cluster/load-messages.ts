/** Messages between the test and its load generator, which runs in the network namespace of the cluster. */
export type ToLoad =
  | { readonly kind: "phase"; readonly name: string }
  /** Ends the load; the answer is the account. */
  | { readonly kind: "end" };

/** Measurements of one phase, ms. */
export interface PhaseReport {
  readonly name: string;
  readonly seconds: number;
  readonly accepted: number;
  /** Longest time in which no send of any session was accepted. */
  readonly longestGapMs: number;
  /** From the call of a send to its result. */
  readonly sendP50Ms: number;
  readonly sendP99Ms: number;
  readonly sendMaxMs: number;
  /** From the loss of a session to its next Welcome. */
  readonly reconnects: number;
  readonly reconnectP99Ms: number;
  readonly reconnectMaxMs: number;
}

export interface AccountReport {
  readonly sent: number;
  readonly accepted: number;
  readonly refused: readonly string[];
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly findings: readonly string[];
}

export type FromLoad =
  | { readonly kind: "ready" }
  /** The phase before the one that was asked for. */
  | { readonly kind: "phase"; readonly report: PhaseReport }
  | { readonly kind: "account"; readonly report: AccountReport };
