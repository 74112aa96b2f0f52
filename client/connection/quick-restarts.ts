import type { Backoff } from "../backoff.ts";
import { ABNORMAL_CLOSURE } from "./connection.ts";

/** A session that lasted this long (ms) after its Welcome resets the back-off in any case. */
const STABLE_MS = 10_000;
/** A lost session counts as brief when it ended within this time (ms) after its Welcome. */
const BRIEF_MS = 1_000;
/** This many brief sessions in a row may reset the back-off. */
const MAX_BRIEF = 3;

/**
 * Decides whether the end of a session resets the back-off. A session that was welcomed and then lost
 * resets it, however short: a device on a flaky line reconnects soon. Two ends do not: the server
 * closed the session soon after Welcome, or brief sessions follow each other. Otherwise every device
 * would hammer a server, or a proxy in front of it, that welcomes and then fails.
 */
export class QuickRestarts {
  readonly #backoff: Pick<Backoff, "reset">;
  #brief = 0;

  constructor(backoff: Pick<Backoff, "reset">) {
    this.#backoff = backoff;
  }

  /** Takes the close code of a session that was welcomed `lastedMs` before. */
  ended(code: number, lastedMs: number): void {
    this.#brief = lastedMs < BRIEF_MS ? this.#brief + 1 : 0;
    const lost = code === ABNORMAL_CLOSURE && this.#brief <= MAX_BRIEF;
    if (lost || lastedMs >= STABLE_MS) this.#backoff.reset();
  }
}
