import type { Client } from "@connectrpc/connect";
import { LRUCache } from "lru-cache";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  CheckUsersRequestSchema,
  type SessionService,
} from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock } from "#platform/clock.ts";
import { maxItems } from "#platform/constraints.ts";
import { fail } from "#platform/errors.ts";

/** Users in one question to auth. */
const CHUNK = maxItems(CheckUsersRequestSchema.field.userIds);
/** For how long auth is not asked after it did not answer: whoever shares a batch would wait each time. */
const AWAY_MS = 1_000;

/** Which users exist. A user that existed once always does. */
export class Users {
  readonly #sessions: Client<typeof SessionService>;
  readonly #timeoutMs: number;
  readonly #known: LRUCache<string, true>;
  readonly #clock: Clock;
  #awayUntilMs = 0;

  constructor(options: {
    sessions: Client<typeof SessionService>;
    timeoutMs: number;
    cached: number;
    clock: Clock;
  }) {
    this.#sessions = options.sessions;
    this.#timeoutMs = options.timeoutMs;
    this.#clock = options.clock;
    this.#known = new LRUCache({ max: options.cached });
  }

  /** Those of the users that do not exist. Throws UNAVAILABLE when auth cannot say. */
  async missing(userIds: Iterable<string>): Promise<Set<string>> {
    const asked = [...new Set(userIds)].filter((id) => this.#known.get(id) === undefined);
    const missing = new Set(asked);
    for (let from = 0; from < asked.length; from += CHUNK) {
      const chunk = asked.slice(from, from + CHUNK);
      for (const userId of await this.#check(chunk)) {
        this.#known.set(userId, true);
        missing.delete(userId);
      }
    }
    return missing;
  }

  async #check(userIds: string[]): Promise<readonly string[]> {
    if (this.#clock.elapsed() < this.#awayUntilMs) throw unknown();
    try {
      const answer = await this.#sessions.checkUsers({ userIds }, { timeoutMs: this.#timeoutMs });
      return answer.userIds;
    } catch (cause) {
      this.#awayUntilMs = this.#clock.elapsed() + AWAY_MS;
      throw unknown(cause);
    }
  }
}

function unknown(cause?: unknown): Error {
  const text = "it cannot be told whether the user exists";
  return fail(ErrorReason.UNAVAILABLE, text, { retryAfterMs: AWAY_MS, cause });
}
