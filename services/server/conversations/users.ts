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

/** Maximum users in one call to auth. */
const CHUNK_USERS = maxItems(CheckUsersRequestSchema.field.userIds);
/**
 * Back-off after a failed call to auth, ms. Without it each batch with a new user would wait for
 * the time-out.
 */
const BACKOFF_MS = 1_000;

/**
 * Checks which users exist, and caches them. Entries do not expire: a user id stays valid once it
 * exists.
 */
export class Users {
  readonly #sessions: Client<typeof SessionService>;
  readonly #timeoutMs: number;
  readonly #cache: LRUCache<string, true>;
  readonly #clock: Clock;
  #backoffUntilMs = 0;

  constructor(options: {
    sessions: Client<typeof SessionService>;
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
   * Returns the users that do not exist. Throws UNAVAILABLE when auth does not answer, and during
   * the back-off.
   */
  async missing(userIds: Iterable<string>): Promise<Set<string>> {
    const uncached = [...new Set(userIds)].filter((id) => this.#cache.get(id) === undefined);
    const missing = new Set(uncached);
    for (let from = 0; from < uncached.length; from += CHUNK_USERS) {
      const chunk = uncached.slice(from, from + CHUNK_USERS);
      for (const userId of await this.#check(chunk)) {
        this.#cache.set(userId, true);
        missing.delete(userId);
      }
    }
    return missing;
  }

  async #check(userIds: string[]): Promise<readonly string[]> {
    if (this.#clock.elapsed() < this.#backoffUntilMs) throw unavailable();
    try {
      const answer = await this.#sessions.checkUsers({ userIds }, { timeoutMs: this.#timeoutMs });
      return answer.userIds;
    } catch (cause) {
      this.#backoffUntilMs = this.#clock.elapsed() + BACKOFF_MS;
      throw unavailable(cause);
    }
  }
}

function unavailable(cause?: unknown): Error {
  const text = "auth did not answer whether the user exists";
  return fail(ErrorReason.UNAVAILABLE, text, { retryAfterMs: BACKOFF_MS, cause });
}
