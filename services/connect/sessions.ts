import type { Session } from "./session.ts";

/** The sessions of the instance, by what they are looked up with. */
export class Sessions {
  readonly #byId = new Map<string, Session>();
  // Nearly always there is one: a set for each would cost as much as a map.
  readonly #byLogin = new Map<string, Session | Set<Session>>();

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
    const known = this.#byLogin.get(loginId);
    if (known instanceof Set) known.add(session);
    else this.#byLogin.set(loginId, known ? new Set([known, session]) : session);
  }

  removeLogin(loginId: string, session: Session): void {
    const known = this.#byLogin.get(loginId);
    if (known instanceof Set) known.delete(session);
    const left = known instanceof Set ? known.size : Number(known !== session);
    if (known !== undefined && left === 0) this.#byLogin.delete(loginId);
  }

  /** A snapshot, for ending them. */
  ofLogin(loginId: string): Session[] {
    const known = this.#byLogin.get(loginId);
    if (known === undefined) return [];
    return known instanceof Set ? [...known] : [known];
  }

  remove(session: Session): void {
    this.#byId.delete(session.id);
  }
}
