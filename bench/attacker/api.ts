import type { TallyFigures } from "./target/tally.ts";

/** Calls of the attacker's process, in this order. */
export interface AttackerApi {
  /** Prepares an attack of the catalogue against the gateway at an address. */
  prepare(plan: { readonly attack: string; readonly url: string }): Promise<void>;
  /** Starts the attack. */
  begin(none: undefined): Promise<void>;
  /** Cuts all connections, and returns what was counted since `begin`. */
  end(none: undefined): Promise<TallyFigures>;
}
