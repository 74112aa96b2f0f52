import assert from "node:assert/strict";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type pg from "pg";
import type { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import type { ServerConfig } from "../config.ts";
import { contentOf, type RunningServer, type Stand, toUser } from "../server.fixture.ts";

let lastUser = 10_000;

/** The ids of new users. */
export function newUsers(count: number): string[] {
  return Array.from({ length: count }, () => String(++lastUser));
}

/** A conversation, and calls about its messages. */
export class Talk {
  readonly server: RunningServer;
  readonly id: string;
  /** The owner of the group, or the user who opened the direct conversation. */
  readonly owner: string;
  /** The other users. */
  readonly others: readonly string[];
  readonly #pool: pg.Pool;
  #keys = 0;

  constructor(
    pool: pg.Pool,
    { server, id, users }: { server: RunningServer; id: string; users: readonly string[] },
  ) {
    this.#pool = pool;
    this.server = server;
    this.id = id;
    this.owner = users[0]!;
    this.others = users.slice(1);
  }

  /** A group of an owner and a number of other new users. */
  static async group(
    stand: Stand,
    { others, config }: { others: number; config?: Partial<ServerConfig> },
  ): Promise<Talk> {
    const server = await stand.server(config);
    const [owner, ...userIds] = newUsers(others + 1) as [string, ...string[]];
    const { group } = await server.groups(owner).createGroup({ name: "g", userIds });
    return new Talk(stand.pool, { server, id: group!.groupId, users: [owner, ...userIds] });
  }

  /** A direct conversation of two new users, with one message. */
  static async direct(stand: Stand, config?: Partial<ServerConfig>): Promise<Talk> {
    const server = await stand.server(config);
    const users = newUsers(2);
    const { accepted } = await server.messages(users[0]!).send({
      target: toUser(users[1]!),
      clientMessageId: "first",
      content: contentOf("first"),
    });
    return new Talk(stand.pool, { server, id: accepted!.conversationId, users });
  }

  /** The same conversation on another server. */
  on(server: RunningServer): Talk {
    return new Talk(this.#pool, { server, id: this.id, users: [this.owner, ...this.others] });
  }

  /** Sends a text, or another content; returns its sequence. */
  async send(
    from: string,
    content: string | MessageInitShape<typeof ContentSchema>,
    key = `send-${++this.#keys}`,
  ): Promise<bigint> {
    const { accepted } = await this.server.messages(from).send({
      target: { case: "conversationId", value: this.id },
      clientMessageId: key,
      content: typeof content === "string" ? contentOf(content) : content,
    });
    return accepted!.sequence;
  }

  edit(
    from: string,
    sequence: bigint,
    text: string,
    options: { key?: string; mentionedUserIds?: string[]; mentionAll?: boolean } = {},
  ) {
    const { key = `edit-${++this.#keys}`, ...mentions } = options;
    return this.server.changes(from).editMessage({
      ...{ conversationId: this.id, sequence, clientMessageId: key },
      change: { case: "text", value: { text } },
      ...mentions,
    });
  }

  caption(from: string, sequence: bigint, value: string) {
    return this.server.changes(from).editMessage({
      ...{ conversationId: this.id, sequence, clientMessageId: `edit-${++this.#keys}` },
      change: { case: "caption", value },
    });
  }

  /** Recalls messages; returns the sequence of the change. */
  async recall(from: string, ...sequences: bigint[]): Promise<bigint> {
    const { changedSequence } = await this.server
      .changes(from)
      .recallMessages({ conversationId: this.id, sequences, reason: "spam" });
    return changedSequence;
  }

  react(from: string, sequence: bigint, ...emojis: string[]) {
    return this.server.changes(from).setReactions({ conversationId: this.id, sequence, emojis });
  }

  async pin(from: string, sequence: bigint): Promise<bigint> {
    const call = { conversationId: this.id, sequence };
    return (await this.server.changes(from).pinMessage(call)).changedSequence;
  }

  async unpin(from: string, sequence: bigint): Promise<bigint> {
    const call = { conversationId: this.id, sequence };
    return (await this.server.changes(from).unpinMessage(call)).changedSequence;
  }

  hide(from: string, ...sequences: bigint[]) {
    return this.server.changes(from).deleteForMe({ conversationId: this.id, sequences });
  }

  /** All entries that a user may see. */
  async entries(userId: string): Promise<Entry[]> {
    const position = { case: "afterSequence", value: 0n } as const;
    const call = { conversationId: this.id, position, pageSize: 500 };
    const { entries, lastSequence } = await this.server.messages(userId).listEntries(call);
    assert.equal(entries.at(-1)?.sequence, lastSequence);
    for (const [at, { sequence }] of entries.entries())
      assert.equal(sequence, entries[0]!.sequence + BigInt(at), "the sequences have no gap");
    return entries;
  }

  async entry(userId: string, sequence: bigint): Promise<Entry> {
    return (await this.entries(userId)).find((entry) => entry.sequence === sequence)!;
  }

  /** The conversation as a user sees it in lists. */
  async conversation(userId: string) {
    const target = { case: "conversationId", value: this.id } as const;
    return (await this.server.conversations(userId).getConversation({ target })).conversation!;
  }

  /** Gives members a role, or mutes them. */
  async setMember(userId: string, column: "role" | "muted_until_ms", value: number): Promise<void> {
    await this.#pool.query(
      `UPDATE im.member SET ${column} = $3 WHERE conversation_id = $1 AND user_id = $2`,
      [this.id, userId, value],
    );
  }

  /** Rows of a table of the conversation, without the columns of the key's start and of `except`. */
  async rows(table: string, ...except: string[]): Promise<Record<string, unknown>[]> {
    const { rows } = await this.#pool.query(
      `SELECT * FROM im.${table} WHERE conversation_id = $1 ORDER BY sequence`,
      [this.id],
    );
    return rows.map((row) =>
      Object.fromEntries(
        Object.entries(row).filter(([name]) => !["conversation_id", ...except].includes(name)),
      ),
    );
  }
}

/** The reactions entries of a log. */
export const reactionsOf = (entries: readonly Entry[]) =>
  entries.flatMap(({ content }) =>
    content?.kind.case === "reactions" ? [content.kind.value] : [],
  );

/** Users by emoji and message, as the deltas of the log add up. Checks each delta. */
export function folded(entries: readonly Entry[]): Map<string, Set<string>> {
  const users = new Map<string, Set<string>>();
  for (const { targetSequence, deltas, counts } of reactionsOf(entries)) {
    assert.ok(deltas.length >= 1 && deltas.length <= 500);
    for (const { userId, emoji, added } of deltas) {
      const key = `${targetSequence} ${emoji}`;
      const ofEmoji = users.get(key) ?? new Set();
      users.set(key, ofEmoji);
      assert.equal(ofEmoji.has(userId), !added);
      if (added) ofEmoji.add(userId);
      else ofEmoji.delete(userId);
      if (ofEmoji.size === 0) users.delete(key);
    }
    const ofTarget = [...users].filter(([key]) => key.startsWith(`${targetSequence} `));
    assert.deepEqual(
      counts.map(({ emoji, count }) => [`${targetSequence} ${emoji}`, Number(count)]).sort(),
      ofTarget.map(([key, ids]) => [key, ids.size]).sort(),
    );
    for (const { emoji, count, recentUserIds } of counts) {
      assert.equal(recentUserIds.length, Math.min(3, Number(count)));
      for (const id of recentUserIds) assert.ok(users.get(`${targetSequence} ${emoji}`)!.has(id));
    }
  }
  return users;
}
