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
  readonly #new: LookUps;
  readonly #existing: LookUps;
  readonly #cache: LRUCache<string, UserState>;
  readonly #clock: Clock;
  #backoffUntilMs = 0;
  #existingBackoffUntilMs = 0;

  constructor(options: {
    sessions: Pick<Client<typeof SessionService>, "checkUsers">;
    timeoutMs: number;
    cached: number;
    clock: Clock;
  }) {
    this.#sessions = options.sessions;
    const { timeoutMs } = options;
    // Ids that no user has are not cached: a caller may name any number of them.
    this.#new = { timeoutMs, uncached: "missing", inFlight: new Map() };
    const existingTimeoutMs = Math.min(timeoutMs, EXISTING_TIMEOUT_MS);
    this.#existing = { timeoutMs: existingTimeoutMs, uncached: undefined, inFlight: new Map() };
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
      for (const [userId, state] of await this.#ask(this.#new, uncached)) states.set(userId, state);
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
      await this.#ask(this.#existing, unknown);
    } catch {
      this.#existingBackoffUntilMs = this.#clock.elapsed() + EXISTING_BACKOFF_MS;
    }
  }

  /** Evicts users whose states changed. Answers in flight about them may be stale. */
  evict(userIds: readonly string[]): void {
    for (const userId of userIds) {
      this.#cache.delete(userId);
      this.#new.inFlight.delete(userId);
      this.#existing.inFlight.delete(userId);
    }
  }

  /** Evicts all users: any state may have changed. */
  clear(): void {
    this.#cache.clear();
    this.#new.inFlight.clear();
    this.#existing.inFlight.clear();
  }

  /**
   * Returns the states of users by auth, and caches them. Users that are asked for already share
   * that call.
   */
  async #ask(lookUps: LookUps, userIds: readonly string[]): Promise<Map<string, UserState>> {
    const { inFlight } = lookUps;
    const fresh = userIds.filter((userId) => !inFlight.has(userId));
    for (let from = 0; from < fresh.length; from += CHUNK_USERS)
      this.#start(lookUps, fresh.slice(from, from + CHUNK_USERS));
    const asked = userIds.map((userId) => inFlight.get(userId)!);
    const answers = await Promise.all(asked);
    return new Map(userIds.map((userId, index) => [userId, answers[index]!.get(userId)!]));
  }

  /** Starts a call. Its answer about a user is cached unless the user was evicted since. */
  #start({ timeoutMs, uncached, inFlight }: LookUps, userIds: readonly string[]): void {
    const answer = this.#call(userIds, timeoutMs);
    for (const userId of userIds) inFlight.set(userId, answer);
    const ended = (states?: ReadonlyMap<string, UserState>) => {
      for (const userId of userIds) {
        if (inFlight.get(userId) !== answer) continue;
        inFlight.delete(userId);
        const state = states?.get(userId);
        if (state !== undefined && state !== uncached) this.#cache.set(userId, state);
      }
    };
    answer.then(ended, () => ended());
  }

  async #call(userIds: readonly string[], timeoutMs: number): Answer {
    const answer = await this.#sessions.checkUsers({ userIds: [...userIds] }, { timeoutMs });
    const states = new Map<string, UserState>(userIds.map((userId) => [userId, "missing"]));
    for (const userId of answer.userIds) states.set(userId, "active");
    for (const userId of answer.disabledUserIds) states.set(userId, "disabled");
    return states;
  }
}

type Answer = Promise<ReadonlyMap<string, UserState>>;

/** Calls to auth with one time-out. */
interface LookUps {
  readonly timeoutMs: number;
  /** The state that is not cached. */
  readonly uncached: UserState | undefined;
  /** By user: the call in flight whose answer holds, because no change was reported since. */
  readonly inFlight: Map<string, Answer>;
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
