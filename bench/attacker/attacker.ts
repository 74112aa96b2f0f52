import type { AttackerApi } from "./api.ts";
import { attacks } from "./attacks/catalogue.ts";
import type { Assault } from "./target/attack.ts";
import type { TallyFigures } from "./target/tally.ts";
import { Target } from "./target/target.ts";

/** Runs one attack. */
export class Attacker implements AttackerApi {
  readonly #stop = new AbortController();
  #target: Target | undefined;
  #assault: Assault | undefined;

  async prepare({ attack, url }: { attack: string; url: string }): Promise<void> {
    const found = attacks.find(({ name }) => name === attack);
    if (!found) throw new Error(`there is no attack ${attack}`);
    this.#target = new Target(url);
    this.#assault = await found.prepare(this.#target);
  }

  async begin(): Promise<void> {
    this.#target?.tally.clear();
    void this.#assault?.(this.#stop.signal);
  }

  async end(): Promise<TallyFigures> {
    const target = this.#target!;
    this.#stop.abort();
    await target.close();
    return target.tally.figures;
  }
}
