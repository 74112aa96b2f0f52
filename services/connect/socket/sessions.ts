import type { Session } from "./session.ts";
import { SmallSet } from "./small-set.ts";

/** The open sockets of the instance, indexed by session id and by login id. */
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

  /** Indexes the session under its login. */
  addLogin(loginId: string, session: Session): void {
    const sessions = this.#byLogin.get(loginId) ?? new SmallSet();
    sessions.add(session);
    this.#byLogin.set(loginId, sessions);
  }

  removeLogin(loginId: string, session: Session): void {
    const sessions = this.#byLogin.get(loginId);
    sessions?.delete(session);
    if (sessions?.size === 0) this.#byLogin.delete(loginId);
  }

  /** A snapshot, so that the caller may end the sessions while it iterates. */
  ofLogin(loginId: string): Session[] {
    return [...(this.#byLogin.get(loginId) ?? [])];
  }

  remove(session: Session): void {
    this.#byId.delete(session.id);
  }
}
