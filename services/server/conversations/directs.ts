import { LRUCache } from "lru-cache";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { bucketOfPair } from "#platform/buckets/bucket.ts";
import type { Clock } from "#platform/clock.ts";
import type { Ids } from "#platform/ids.ts";
import { bigints } from "../log/arrays.ts";
import type { Statement } from "../log/database.ts";
import type { Failure, Logs } from "../log/logs.ts";
import type { Conversations } from "./conversations.ts";
import { invalidField, type Refusal, refusal, refusalOf } from "./refusal.ts";
import { refusalOfState, type UserState, type Users } from "./users.ts";

/** The sender and the receiver of a direct message. */
export interface Pair {
  readonly senderId: string;
  readonly peerId: string;
}

interface DirectRow {
  low_user_id: string;
  high_user_id: string;
  conversation_id: string;
}

export const selectDirects: Statement = {
  name: "im_directs",
  route: { kind: "pairs", lows: 1, highs: 2 },
  text: `
    SELECT i.low AS low_user_id, i.high AS high_user_id, d.conversation_id
      FROM unnest($1::bigint[], $2::bigint[]) AS i(low, high)
     CROSS JOIN LATERAL (SELECT p.conversation_id FROM im.direct p
                          WHERE p.low_user_id = i.low AND p.high_user_id = i.high OFFSET 0) d`,
};

// Inserts in the order of the pairs: two servers that create the same pairs do not deadlock.
export const insertDirects: Statement = {
  name: "im_directs_insert",
  route: { kind: "pairs", lows: 1, highs: 2 },
  text: `
    WITH made AS (
      INSERT INTO im.direct (low_user_id, high_user_id, conversation_id)
      SELECT low, high, id FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS i(low, high, id)
       WHERE im.owns($3::bigint[])
      ON CONFLICT DO NOTHING
      RETURNING low_user_id, high_user_id, conversation_id
    ), opened AS (
      INSERT INTO im.conversation (conversation_id, kind, member_count, created_at_ms)
      SELECT conversation_id, ${ConversationKind.DIRECT}, 2, $4::bigint FROM made
    )
    INSERT INTO im.member (conversation_id, user_id, kind)
    SELECT conversation_id, low_user_id, ${ConversationKind.DIRECT} FROM made
    UNION ALL
    SELECT conversation_id, high_user_id, ${ConversationKind.DIRECT} FROM made`,
};

/**
 * Finds and creates direct conversations by their users. A cached id never goes stale, because a pair
 * keeps its conversation, except in a log that was reset.
 */
export class Directs {
  readonly #logs: Logs;
  readonly #users: Users;
  readonly #conversations: Conversations;
  readonly #ids: Ids;
  readonly #clock: Clock;
  readonly #cache: LRUCache<string, string>;

  constructor(options: {
    logs: Logs;
    users: Users;
    conversations: Conversations;
    ids: Ids;
    clock: Clock;
    cached: number;
  }) {
    this.#logs = options.logs;
    this.#users = options.users;
    this.#conversations = options.conversations;
    this.#ids = options.ids;
    this.#clock = options.clock;
    this.#cache = new LRUCache({ max: options.cached });
  }

  /** Cached conversation id of the pair; undefined when it is not cached. */
  peek(pair: Pair): string | undefined {
    return this.#cache.get(pairKey(pair));
  }

  /** Evicts all ids: the log has another history. */
  clear(): void {
    this.#cache.clear();
  }

  /**
   * The conversation of a pair; undefined when there is none, which creates none. Throws UNAVAILABLE.
   */
  async find(pair: Pair): Promise<string | undefined> {
    const wanted = new Map([[pairKey(pair), pair]]);
    const errors = new Map<string, Error>();
    if (pair.senderId !== pair.peerId) await this.#find(wanted, errors);
    for (const error of errors.values()) throw error;
    return this.peek(pair);
  }

  /**
   * Finds or creates the conversation of each pair. Returns, in the order of the pairs,
   * conversation ids or refusals: USER_NOT_FOUND or ACCOUNT_DISABLED for a receiver without a
   * conversation, INVALID_ARGUMENT when the receiver is the sender, UNAVAILABLE when auth does not
   * answer, OVERLOADED when the cache evicted the id during this call. A pair whose database fails
   * gets the error. Receivers of existing conversations are looked up for the append, which waits
   * for the answer and refuses them. Throws other errors of auth.
   */
  async resolve(pairs: readonly Pair[]): Promise<(string | Refusal | Error)[]> {
    const toOneself = invalidField("user_id", "is the sender");
    const wanted = new Map<string, Pair>();
    for (const pair of pairs) if (pair.senderId !== pair.peerId) wanted.set(pairKey(pair), pair);
    const found = new Map(wanted);
    const errors = new Map<string, Error>();
    await this.#find(wanted, errors);
    for (const key of wanted.keys()) found.delete(key);
    void this.#users.checkExisting(usersOf(found));
    let states: ReadonlyMap<string, UserState> = new Map();
    let unchecked: Refusal | undefined;
    if (wanted.size > 0) {
      try {
        states = await this.#users.states(usersOf(wanted));
        for (const [key, { peerId }] of wanted) {
          if (states.get(peerId) !== "active") wanted.delete(key);
        }
      } catch (error) {
        unchecked = refusalOf(error);
        if (unchecked === undefined) throw error;
        wanted.clear();
      }
      await this.#create(wanted, errors);
      await this.#find(wanted, errors);
    }
    return pairs.map((pair) => {
      if (pair.senderId === pair.peerId) return toOneself;
      const conversationId = this.peek(pair);
      if (conversationId !== undefined) return conversationId;
      const error = errors.get(pairKey(pair));
      if (error !== undefined) return error;
      if (unchecked !== undefined) return unchecked;
      const refused = refusalOfState(states.get(pair.peerId));
      if (refused !== undefined) return refused;
      // The cache evicted the id during this call: it is far too small for the batch.
      return refusal(ErrorReason.OVERLOADED, "too many new conversations", 1_000);
    });
  }

  /**
   * Looks up the uncached pairs, and removes the found ones from `wanted`. Moves the pairs of a
   * database that fails from `wanted` to `errors`.
   */
  async #find(wanted: Map<string, Pair>, errors: Map<string, Error>): Promise<void> {
    const pairs = [...wanted.values()].filter((pair) => this.peek(pair) === undefined);
    const { results, failures } = await this.#logs.spread(pairs, bucketOfUsers, (db, theirs) => {
      const { lows, highs } = sorted(theirs);
      return db.run<DirectRow>(selectDirects, [bigints(lows), bigints(highs)]);
    });
    const keys = results.flat().map((row) => {
      const { low_user_id: low, high_user_id: high, conversation_id: conversationId } = row;
      this.#cache.set(`${low}:${high}`, conversationId);
      return { conversationId, userId: wanted.get(`${low}:${high}`)!.senderId };
    });
    for (const [key, pair] of wanted) if (this.peek(pair) !== undefined) wanted.delete(key);
    fail(wanted, errors, failures);
    // One read fills the cache for the whole batch, so the appends need no further reads. The append
    // reports failures.
    if (keys.length > 0) await this.#conversations.readSome(keys);
  }

  async #create(wanted: Map<string, Pair>, errors: Map<string, Error>): Promise<void> {
    const { failures } = await this.#logs.spread(
      [...wanted.values()],
      bucketOfUsers,
      async (db, theirs) => {
        const { lows, highs } = sorted(theirs);
        const buckets = lows.map((low, at) => bucketOfPair(low, highs[at]!));
        const ids = this.#ids.inBuckets(buckets);
        const values = [bigints(lows), bigints(highs), bigints(ids), String(this.#clock.now())];
        await db.run(insertDirects, values);
      },
    );
    fail(wanted, errors, failures);
  }
}

function bucketOfUsers({ senderId, peerId }: Pair): number {
  return bucketOfPair(senderId, peerId);
}

/** Moves the pairs of failures from `wanted` to `errors`. */
function fail(
  wanted: Map<string, Pair>,
  errors: Map<string, Error>,
  failures: readonly Failure<Pair>[],
): void {
  for (const { items, error } of failures)
    for (const pair of items) {
      wanted.delete(pairKey(pair));
      errors.set(pairKey(pair), error as Error);
    }
}

/** Both users of each pair: then an answer of the receiver needs no further check. */
function usersOf(pairs: ReadonlyMap<string, Pair>): string[] {
  return [...pairs.values()].flatMap(({ senderId, peerId }) => [senderId, peerId]);
}

/** Cache key of a pair, the same in both directions. */
function pairKey({ senderId, peerId }: Pair): string {
  return isLower(senderId, peerId) ? `${senderId}:${peerId}` : `${peerId}:${senderId}`;
}

/** Whether `a` is less than `b`, as decimal ids. */
function isLower(a: string, b: string): boolean {
  return a.length === b.length ? a < b : a.length < b.length;
}

function sorted(pairs: readonly Pair[]): { lows: string[]; highs: string[] } {
  const ordered = pairs
    .map(({ senderId, peerId }) =>
      isLower(senderId, peerId) ? [senderId, peerId] : [peerId, senderId],
    )
    .sort(([a, b], [c, d]) => (a === c ? order(b!, d!) : order(a!, c!)));
  return { lows: ordered.map(([low]) => low!), highs: ordered.map(([, high]) => high!) };
}

function order(a: string, b: string): number {
  if (a === b) return 0;
  return isLower(a, b) ? -1 : 1;
}
