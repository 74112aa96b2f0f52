import { LRUCache } from "lru-cache";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { bucketOf } from "#platform/buckets/bucket.ts";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import { type Failure, type Logs, throwFirst } from "../log/logs.ts";

/** Rights of a member in a conversation. */
export interface Membership {
  /** lucky.group.v1.Role */
  readonly role: number;
  /** End of the mute, milliseconds since the Unix epoch; 0 for no mute. */
  readonly mutedUntilMs: number;
}

/** Cached state of a conversation: valid while its member version in the database is the same. */
export interface Conversation {
  readonly conversationId: string;
  /** `conversationId` as a bigint, for sorting and encoding. */
  readonly key: bigint;
  readonly kind: ConversationKind;
  readonly memberVersion: string;
  /** Time of the read, ms by the clock's elapsed time. */
  readonly readAtMs: number;
  /** Channels that its entries are published to. */
  readonly channels: readonly string[];
  /** Both users of a direct conversation; empty for a group. */
  readonly users: readonly string[];
  /**
   * Cached memberships, by user id. Other members may exist: the cache holds requested users only.
   */
  readonly memberships: Map<string, Membership>;
}

/** The part of a conversation that never changes. */
export type ConversationUsers = Pick<Conversation, "kind" | "users">;

/** A user and a conversation. */
export interface MembershipKey {
  readonly conversationId: string;
  readonly userId: string;
}

/** The conversations that could be read, and the keys that could not. */
export interface SomeConversations {
  readonly found: ReadonlyMap<string, Conversation>;
  readonly failures: readonly Failure<MembershipKey>[];
}

/** The kinds and users that could be read, and the conversations that could not. */
export interface SomeKinds {
  readonly found: ReadonlyMap<string, ConversationUsers>;
  readonly failures: readonly Failure<string>[];
}

interface MembershipRow {
  conversation_id: string;
  user_id: string;
  kind: number;
  member_version: string;
  users: string[] | null;
  role: number | null;
  muted_until_ms: string | null;
}

export const selectMemberships: Statement = {
  name: "im_memberships",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT c.conversation_id, i.user_id, c.kind, c.member_version, m.role, m.muted_until_ms,
           CASE WHEN c.kind = ${ConversationKind.DIRECT} THEN
             ARRAY(SELECT p.user_id::text FROM im.member p
                    WHERE p.conversation_id = c.conversation_id ORDER BY p.user_id)
           END AS users
      FROM unnest($1::bigint[], $2::bigint[]) AS i(conversation_id, user_id)
      JOIN im.conversation c ON c.conversation_id = i.conversation_id
      LEFT JOIN im.member m ON m.conversation_id = i.conversation_id AND m.user_id = i.user_id
                           AND m.left_sequence = 0
     WHERE im.owns($1::bigint[])`,
};

/** Time for which a cached group is valid for callers that do not compare the member version. */
const RECENT_MS = 5_000;

/** One shared object for most members, to save memory. */
const PLAIN_MEMBERSHIP: Membership = Object.freeze({ role: 1, mutedUntilMs: 0 });

/**
 * Cache of conversations and memberships. It may be stale: an append compares the member version in
 * the database, and a send is refused only after a fresh read. Callers that compare no version use
 * `recent` or `ofMember`. The sum of conversations and memberships is bounded; at the bound the
 * least recently used conversation is evicted.
 */
export class Conversations {
  readonly #logs: Logs;
  readonly #clock: Clock;
  readonly #cache: LRUCache<string, Conversation>;
  /** Cache of `kinds`, separate from the cache of the appends. */
  readonly #kinds: LRUCache<string, ConversationUsers>;

  constructor(options: { logs: Logs; clock: Clock; memberships: number }) {
    this.#logs = options.logs;
    this.#clock = options.clock;
    this.#cache = new LRUCache({
      maxSize: options.memberships,
      sizeCalculation: ({ memberships }) => 1 + memberships.size,
    });
    this.#kinds = new LRUCache({ maxSize: options.memberships, sizeCalculation: () => 1 });
  }

  /** The cached conversation; undefined when it is not cached. */
  peek(conversationId: string): Conversation | undefined {
    return this.#cache.get(conversationId);
  }

  /**
   * The cached conversation if the user was a member at most 5 s ago, else undefined. Members of a
   * direct conversation never change, so its entry does not expire.
   */
  recent({ conversationId, userId }: MembershipKey): Conversation | undefined {
    const cached = this.peek(conversationId);
    if (!cached?.memberships.has(userId)) return undefined;
    if (cached.kind === ConversationKind.DIRECT) return cached;
    return this.#clock.elapsed() - cached.readAtMs < RECENT_MS ? cached : undefined;
  }

  /** Evicts a conversation whose members changed. */
  evict(conversationId: string): void {
    this.#cache.delete(conversationId);
  }

  /** Evicts all conversations: the log has another history. */
  clear(): void {
    this.#cache.clear();
    this.#kinds.clear();
  }

  /**
   * Reads memberships from the database and refreshes the cache. Returns the conversations that
   * exist, with at least the requested memberships. Conversations that do not exist are evicted. A
   * newer entry stays in the cache: a concurrent read has won the race. Throws UNAVAILABLE.
   */
  async read(keys: readonly MembershipKey[]): Promise<ReadonlyMap<string, Conversation>> {
    const { found, failures } = await this.readSome(keys);
    throwFirst(failures);
    return found;
  }

  /** As `read`, without the conversations of databases that fail. Never rejects. */
  async readSome(keys: readonly MembershipKey[]): Promise<SomeConversations> {
    const found = new Map<string, Conversation>();
    const { failures } = await this.#logs.spread(
      keys,
      ({ conversationId }) => bucketOf(conversationId),
      async (db, theirs) => {
        for (const [id, one] of await this.#readFrom(db, theirs)) found.set(id, one);
      },
    );
    return { found, failures };
  }

  async #readFrom(
    db: Database,
    keys: readonly MembershipKey[],
  ): Promise<ReadonlyMap<string, Conversation>> {
    const readAtMs = this.#clock.elapsed();
    const rows = await db.run<MembershipRow>(selectMemberships, [
      bigints(keys.map(({ conversationId }) => conversationId)),
      bigints(keys.map(({ userId }) => userId)),
    ]);
    // All rows come from one snapshot: collect them before comparing with the cache.
    const memberships = new Map<string, Map<string, Membership>>();
    for (const { conversationId } of keys) {
      if (memberships.has(conversationId)) continue;
      memberships.set(conversationId, new Map());
    }
    const rowsById = new Map<string, MembershipRow>();
    for (const row of rows) {
      rowsById.set(row.conversation_id, row);
      if (row.role === null) continue;
      const mutedUntilMs = Number(row.muted_until_ms);
      const membership =
        row.role === PLAIN_MEMBERSHIP.role && mutedUntilMs === 0
          ? PLAIN_MEMBERSHIP
          : { role: row.role, mutedUntilMs };
      memberships.get(row.conversation_id)!.set(row.user_id, membership);
    }
    const found = new Map<string, Conversation>();
    for (const [conversationId, fresh] of memberships) {
      const row = rowsById.get(conversationId);
      const old = this.#cache.peek(conversationId);
      this.#cache.delete(conversationId);
      if (row === undefined) continue;
      // When the versions are equal, the cached memberships of other users are still valid.
      if (old !== undefined && old.memberVersion === row.member_version) {
        for (const [userId, membership] of old.memberships)
          if (!fresh.has(userId)) fresh.set(userId, membership);
      }
      const conversation = conversationOf(row, fresh, readAtMs);
      found.set(conversationId, conversation);
      const isOlder = old !== undefined && BigInt(old.memberVersion) > BigInt(row.member_version);
      this.#cache.set(conversationId, isOlder ? old : conversation);
    }
    return found;
  }

  /**
   * Reads conversations from the cache, and uncached ones from the database. Throws UNAVAILABLE.
   */
  async all(conversationIds: readonly string[]): Promise<ReadonlyMap<string, Conversation>> {
    const { found, failures } = await this.allSome(conversationIds);
    throwFirst(failures);
    return found;
  }

  /** As `all`, without the conversations of databases that fail. Never rejects. */
  async allSome(conversationIds: readonly string[]): Promise<SomeConversations> {
    const found = new Map<string, Conversation>();
    const uncached: MembershipKey[] = [];
    for (const conversationId of conversationIds) {
      const cached = this.peek(conversationId);
      if (cached === undefined) uncached.push({ conversationId, userId: "0" });
      else found.set(conversationId, cached);
    }
    const { found: read, failures } = await this.readSome(uncached);
    for (const [id, one] of read) found.set(id, one);
    return { found, failures };
  }

  /**
   * Reads kinds and users of conversations. A sweep asks for all conversations that changed on any
   * server, most of which no append of this server needs: they neither enter the cache of the appends
   * nor renew their place in it. Returns also the failures, such as conversations that move. Never
   * rejects.
   */
  async kinds(conversationIds: readonly string[]): Promise<SomeKinds> {
    const found = new Map<string, ConversationUsers>();
    const uncached: string[] = [];
    for (const id of conversationIds) {
      const cached = this.#cache.peek(id) ?? this.#kinds.get(id);
      if (cached === undefined) uncached.push(id);
      else found.set(id, cached);
    }
    const { failures } = await this.#logs.spread(uncached, bucketOf, async (db, theirs) => {
      const values = [bigints(theirs), bigints(theirs.map(() => "0"))];
      for (const row of await db.run<MembershipRow>(selectMemberships, values)) {
        const read = { kind: row.kind, users: row.users ?? [] };
        this.#kinds.set(row.conversation_id, read);
        found.set(row.conversation_id, read);
      }
    });
    return { found, failures };
  }

  /**
   * The conversation if the user is a member, or was at most 5 s ago; else undefined. Throws
   * UNAVAILABLE.
   */
  async ofMember(key: MembershipKey): Promise<Conversation | undefined> {
    const cached = this.recent(key);
    if (cached !== undefined) return cached;
    const fresh = (await this.read([key])).get(key.conversationId);
    return fresh?.memberships.has(key.userId) ? fresh : undefined;
  }
}

function conversationOf(
  row: MembershipRow,
  memberships: Map<string, Membership>,
  readAtMs: number,
): Conversation {
  const { conversation_id: conversationId, kind } = row;
  const users = row.users ?? [];
  return {
    conversationId,
    key: BigInt(conversationId),
    kind,
    memberVersion: row.member_version,
    readAtMs,
    channels: channelsOf({ conversationId, kind, users }),
    users,
    memberships,
  };
}

/** Channels that the entries of a conversation are published to. */
export function channelsOf({
  conversationId,
  kind,
  users,
}: Pick<Conversation, "conversationId" | "kind" | "users">): readonly string[] {
  return kind === ConversationKind.GROUP ? [groupChannel(conversationId)] : users.map(userChannel);
}
