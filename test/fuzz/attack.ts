import type { Random } from "./random.ts";
import type { Target } from "./target.ts";

/** The server under attack, and the account that the attacker uses. */
export interface Victim {
  readonly target: Target;
  /** Access token of the attacker's device. */
  readonly token: string;
  /** Id of the attacker. */
  readonly userId: string;
}

/** One protocol that is attacked. */
export interface Attack {
  readonly name: string;
  /** Inputs of one case. */
  readonly inputs: number;
  /**
   * Sends the inputs of a case, over connections of its own, and waits until the server has answered
   * them or has closed the connection. Throws a Finding.
   */
  run(random: Random, victim: Victim): Promise<void>;
}
