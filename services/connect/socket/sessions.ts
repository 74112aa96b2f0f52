import type { Session } from "./session.ts";
import { SmallSet } from "./small-set.ts";

/** The sessions of the instance, by what they are looked up with. */
export class Sessions {
  readonly #byId = new Map<string, Session>();
  readonly #byLogin = new Map<string, SmallSet<Session>>();

  get size(): number {
    return this.#byId.size;
  }

  add(session: Session): void {
    this.#byId.set(session.id, session);
  }

  get(sessionId: string): Session | undefined {
    return this.#byId.get(sessionId);
  }

  all(): IterableIterator<Session> {
    return this.#byId.values();
  }

  /** The session belongs to a login from now on. */
  addLogin(loginId: string, session: Session): void {
    const known = this.#byLogin.get(loginId) ?? new SmallSet();
    known.add(session);
    this.#byLogin.set(loginId, known);
  }

  removeLogin(loginId: string, session: Session): void {
    const known = this.#byLogin.get(loginId);
    known?.delete(session);
    if (known?.size === 0) this.#byLogin.delete(loginId);
  }

  /** A snapshot, for ending them. */
  ofLogin(loginId: string): Session[] {
    return [...(this.#byLogin.get(loginId) ?? [])];
  }

  remove(session: Session): void {
    this.#byId.delete(session.id);
  }
}
