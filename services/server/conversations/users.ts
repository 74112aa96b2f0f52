import type { Client } from "@connectrpc/connect";
import { LRUCache } from "lru-cache";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  CheckUsersRequestSchema,
  type SessionService,
} from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import { type Refusal, refusal } from "./refusal.ts";

/** State of a user's account. "missing": deleted, or no user ever had the id. */
export type UserState = "active" | "disabled" | "missing";

/** Maximum users in one call to auth. */
const CHUNK_USERS = maxItems(CheckUsersRequestSchema.field.userIds);
/**
 * Back-off after a failed call to auth, ms. Without it each batch with a new user would wait for
 * the time-out.
 */
const BACKOFF_MS = 1_000;
/**
 * Longest wait for auth before a message in an existing conversation, ms. Such a message must not
 * depend on auth.
 */
const EXISTING_TIMEOUT_MS = 500;
/** Back-off after a failed check of existing conversations, ms. Uncached users count as active. */
const EXISTING_BACKOFF_MS = 10_000;

/**
 * Cache of the states of users. Entries do not expire: `evict` is called within seconds after a
 * state has changed.
 */
export class Users {
  readonly #sessions: Pick<Client<typeof SessionService>, "checkUsers">;
  readonly #timeoutMs: number;
  readonly #cache: LRUCache<string, UserState>;
  readonly #clock: Clock;
  #backoffUntilMs = 0;
  #existingBackoffUntilMs = 0;
  /** Number of evictions. An answer of auth from before an eviction may be stale. */
  #evictions = 0;

  constructor(options: {
    sessions: Pick<Client<typeof SessionService>, "checkUsers">;
    timeoutMs: number;
    cached: number;
    clock: Clock;
  }) {
    this.#sessions = options.sessions;
    this.#timeoutMs = options.timeoutMs;
    this.#clock = options.clock;
    this.#cache = new LRUCache({ max: options.cached });
  }

  /**
   * The cached state of a user of an existing conversation; undefined when `checkExisting` must ask
   * auth first. While auth does not answer, an uncached user counts as active.
   */
  peek(userId: string): UserState | undefined {
    const cached = this.#cache.get(userId);
    if (cached !== undefined) return cached;
    return this.#clock.elapsed() < this.#existingBackoffUntilMs ? "active" : undefined;
  }

  /** Returns the state of each user. Throws UNAVAILABLE when auth does not answer. */
  async states(userIds: Iterable<string>): Promise<Map<string, UserState>> {
    const states = new Map<string, UserState>();
    const uncached: string[] = [];
    for (const userId of new Set(userIds)) {
      const cached = this.#cache.get(userId);
      if (cached === undefined) uncached.push(userId);
      else states.set(userId, cached);
    }
    if (uncached.length === 0) return states;
    if (this.#clock.elapsed() < this.#backoffUntilMs) throw unavailable();
    try {
      // Ids that no user has are not cached: a caller may name any number of them.
      for (const [userId, state] of await this.#ask(uncached, this.#timeoutMs, ["missing"])) {
        states.set(userId, state);
      }
    } catch (cause) {
      this.#backoffUntilMs = this.#clock.elapsed() + BACKOFF_MS;
      throw unavailable(cause);
    }
    return states;
  }

  /**
   * Caches the states of users of existing conversations, for `peek`. Never rejects: when auth does
   * not answer, they count as active for a while.
   */
  async checkExisting(userIds: Iterable<string>): Promise<void> {
    const unknown = [...new Set(userIds)].filter((userId) => this.peek(userId) === undefined);
    if (unknown.length === 0) return;
    try {
      await this.#ask(unknown, Math.min(this.#timeoutMs, EXISTING_TIMEOUT_MS), []);
    } catch {
      this.#existingBackoffUntilMs = this.#clock.elapsed() + EXISTING_BACKOFF_MS;
    }
  }

  /** Evicts users whose states changed. */
  evict(userIds: readonly string[]): void {
    if (userIds.length === 0) return;
    this.#evictions += 1;
    for (const userId of userIds) this.#cache.delete(userId);
  }

  /** Evicts all users: any state may have changed. */
  clear(): void {
    this.#evictions += 1;
    this.#cache.clear();
  }

  /** Asks auth, and caches the answer except the `uncached` states. */
  async #ask(
    userIds: readonly string[],
    timeoutMs: number,
    uncached: readonly UserState[],
  ): Promise<Map<string, UserState>> {
    const evictions = this.#evictions;
    const states = new Map<string, UserState>();
    for (let from = 0; from < userIds.length; from += CHUNK_USERS) {
      const chunk = userIds.slice(from, from + CHUNK_USERS);
      const answer = await this.#sessions.checkUsers({ userIds: chunk }, { timeoutMs });
      for (const userId of chunk) states.set(userId, "missing");
      for (const userId of answer.userIds) states.set(userId, "active");
      for (const userId of answer.disabledUserIds) states.set(userId, "disabled");
    }
    if (evictions !== this.#evictions) return states;
    for (const [userId, state] of states) {
      if (!uncached.includes(state)) this.#cache.set(userId, state);
    }
    return states;
  }
}

export const MISSING = refusal(
  ErrorReason.USER_NOT_FOUND,
  "no such user, or the account was deleted",
);
export const DISABLED = refusal(
  ErrorReason.ACCOUNT_DISABLED,
  "the account of the user is disabled",
);

/** Why a user cannot receive messages; undefined for an active user. */
export function refusalOfState(state: UserState | undefined): Refusal | undefined {
  if (state === "missing") return MISSING;
  return state === "disabled" ? DISABLED : undefined;
}

function unavailable(cause?: unknown): Error {
  const text = "auth did not answer whether the user exists";
  return fail(ErrorReason.UNAVAILABLE, text, { retryAfterMs: BACKOFF_MS, cause });
}
