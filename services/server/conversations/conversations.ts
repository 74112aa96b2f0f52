import { LRUCache } from "lru-cache";
import { ConversationKind } from "#gen/lucky/message/v1/message_pb.js";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";

/** What a member may do in a conversation. */
export interface Membership {
  /** lucky.group.v1.Role */
  readonly role: number;
  /** Until when the member may not write; 0 when it may. */
  readonly mutedUntilMs: number;
}

/** What is remembered of a conversation: good as long as its member version is the one given. */
export interface Conversation {
  readonly conversationId: string;
  /** The same, as a number to sort by and to write. */
  readonly key: bigint;
  readonly kind: ConversationKind;
  readonly memberVersion: string;
  /** When it was read, ms by the clock's elapsed time. */
  readonly readAtMs: number;
  /** Where its entries go. */
  readonly channels: readonly string[];
  /** Both users of a direct conversation; empty for a group. */
  readonly users: readonly string[];
  /** Members that were asked for; the others are not known. */
  readonly memberships: Map<string, Membership>;
}

/** One user in one conversation. */
export interface MembershipKey {
  readonly conversationId: string;
  readonly userId: string;
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
  text: `
    SELECT c.conversation_id, i.user_id, c.kind, c.member_version, m.role, m.muted_until_ms,
           CASE WHEN c.kind = ${ConversationKind.DIRECT} THEN
             ARRAY(SELECT p.user_id::text FROM im.member p
                    WHERE p.conversation_id = c.conversation_id ORDER BY p.user_id)
           END AS users
      FROM unnest($1::bigint[], $2::bigint[]) AS i(conversation_id, user_id)
      JOIN im.conversation c ON c.conversation_id = i.conversation_id
      LEFT JOIN im.member m ON m.conversation_id = i.conversation_id AND m.user_id = i.user_id
                           AND m.left_sequence = 0`,
};

/** For how long a membership in a group is believed where no member version is compared. */
const RECENT_MS = 5_000;

/** Most members share one object. */
const PLAIN_MEMBERSHIP: Membership = Object.freeze({ role: 1, mutedUntilMs: 0 });

/**
 * Conversations and who may write to them, as last read. Somebody may have changed them since:
 * appending checks the member version, and whoever is about to be refused is looked up again; what
 * compares no version asks for what is recent.
 * Bounded in conversations and memberships together; the longest unused goes first.
 */
export class Conversations {
  readonly #db: Database;
  readonly #clock: Clock;
  readonly #cache: LRUCache<string, Conversation>;

  constructor(options: { db: Database; clock: Clock; memberships: number }) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#cache = new LRUCache({
      maxSize: options.memberships,
      sizeCalculation: ({ memberships }) => 1 + memberships.size,
    });
  }

  /** What is remembered of a conversation; undefined for nothing. */
  peek(conversationId: string): Conversation | undefined {
    return this.#cache.get(conversationId);
  }

  /**
   * A conversation that the user was a member of moments ago, by what is remembered; undefined when
   * that is not known. Who is in a direct conversation stays in it.
   */
  recent({ conversationId, userId }: MembershipKey): Conversation | undefined {
    const known = this.peek(conversationId);
    if (!known?.memberships.has(userId)) return undefined;
    if (known.kind === ConversationKind.DIRECT) return known;
    return this.#clock.elapsed() - known.readAtMs < RECENT_MS ? known : undefined;
  }

  /** Forgets a conversation, because its members changed. */
  evict(conversationId: string): void {
    this.#cache.delete(conversationId);
  }

  /**
   * Reads users' memberships afresh: conversations that exist, with the memberships of those asked at least. What
   * does not exist is then not remembered, and what another call has read later is not replaced.
   */
  async read(asked: readonly MembershipKey[]): Promise<ReadonlyMap<string, Conversation>> {
    const readAtMs = this.#clock.elapsed();
    const rows = await this.#db.run<MembershipRow>(selectMemberships, [
      bigints(asked.map(({ conversationId }) => conversationId)),
      bigints(asked.map(({ userId }) => userId)),
    ]);
    // All rows are of one moment: forget first, so that nothing older stays.
    const memberships = new Map<string, Map<string, Membership>>();
    for (const { conversationId } of asked) {
      if (memberships.has(conversationId)) continue;
      memberships.set(conversationId, new Map());
    }
    const heads = new Map<string, MembershipRow>();
    for (const row of rows) {
      heads.set(row.conversation_id, row);
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
      const head = heads.get(conversationId);
      const old = this.#cache.peek(conversationId);
      this.#cache.delete(conversationId);
      if (head === undefined) continue;
      // Of the same version, what was known of others still holds; of those asked, what was read.
      if (old !== undefined && old.memberVersion === head.member_version) {
        for (const [userId, membership] of old.memberships)
          if (!fresh.has(userId)) fresh.set(userId, membership);
      }
      const conversation = conversationOf(head, fresh, readAtMs);
      found.set(conversationId, conversation);
      const isOlder = old !== undefined && BigInt(old.memberVersion) > BigInt(head.member_version);
      this.#cache.set(conversationId, isOlder ? old : conversation);
    }
    return found;
  }

  /** What is remembered of conversations, read where nothing is. */
  async all(conversationIds: readonly string[]): Promise<Map<string, Conversation>> {
    const found = new Map<string, Conversation>();
    const unknown: MembershipKey[] = [];
    for (const conversationId of conversationIds) {
      const known = this.peek(conversationId);
      if (known === undefined) unknown.push({ conversationId, userId: "0" });
      else found.set(conversationId, known);
    }
    if (unknown.length > 0) for (const [id, read] of await this.read(unknown)) found.set(id, read);
    return found;
  }

  /** A conversation that the user is a member of, or was moments ago. */
  async ofMember(asked: MembershipKey): Promise<Conversation | undefined> {
    const known = this.recent(asked);
    if (known !== undefined) return known;
    const fresh = (await this.read([asked])).get(asked.conversationId);
    return fresh?.memberships.has(asked.userId) ? fresh : undefined;
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
    channels:
      kind === ConversationKind.GROUP ? [groupChannel(conversationId)] : users.map(userChannel),
    users,
    memberships: memberships,
  };
}
