import type pg from "pg";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Ids } from "#platform/ids.ts";
import { WireWriter } from "#platform/wire.ts";
import type { Conversation } from "../../services/server/conversations/conversations.ts";
import { Database } from "../../services/server/log/database.ts";
import { append, type ConversationBatch } from "../../services/server/sending/append.ts";
import type { AddressedSend } from "../../services/server/sending/duplicates.ts";
import type { Send } from "../../services/server/sending/send.ts";
import { KEY_BYTES, writeKey } from "../generator/dialects/key.ts";

const TEXT_BYTES = 128;
/**
 * Next attempt of its outbox rows, so late that the server's compensation claims none of them before they are
 * deleted.
 */
const FAR_FUTURE_MS = 4_102_444_800_000;

/** Inserts entries with the server's own statement, bypassing the server. */
export class EntryInserter {
  readonly #pool: pg.Pool;
  readonly #ids: Ids;
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #lanes: Conversation[][];
  readonly #next: number[];
  readonly #content: Buffer;
  #number = 0;

  constructor(options: { pool: pg.Pool; ids: Ids; clock: Clock; lanes?: number }) {
    this.#pool = options.pool;
    this.#ids = options.ids;
    this.#clock = options.clock;
    this.#db = new Database(options);
    const lanes = options.lanes ?? 1;
    this.#lanes = Array.from({ length: lanes }, () => []);
    this.#next = Array.from({ length: lanes }, () => 0);
    const text = new WireWriter().string(1, "x".repeat(TEXT_BYTES)).finish();
    this.#content = new WireWriter().bytes(1, text).finish();
  }

  /**
   * Creates direct conversations between users that do not exist, and distributes them over the lanes. Returns
   * their ids, which are also the ids of the users that send.
   */
  async makeConversations(count: number): Promise<string[]> {
    const ids = Array.from({ length: count }, () => this.#ids.next());
    const nowMs = this.#clock.now();
    await this.#pool.query(
      `WITH made AS (
         INSERT INTO im.conversation (conversation_id, kind, member_count, created_at_ms)
         SELECT unnest($1::bigint[]), $2, 2, $3
         RETURNING conversation_id
       )
       INSERT INTO im.member (conversation_id, user_id, kind)
       SELECT conversation_id, conversation_id + n, $2 FROM made, generate_series(0, 1) AS n`,
      [ids, ConversationKind.DIRECT, nowMs],
    );
    for (const [nth, conversationId] of ids.entries()) {
      this.#lanes[nth % this.#lanes.length]!.push({
        conversationId,
        key: BigInt(conversationId),
        kind: ConversationKind.DIRECT,
        memberVersion: "1",
        readAtMs: 0,
        channels: [],
        users: [],
        memberships: new Map(),
      });
    }
    return ids;
  }

  /** Inserts a batch into the conversations of a lane, round robin, by one statement in one transaction. */
  async insert(count: number, lane = 0): Promise<void> {
    const conversations = this.#lanes[lane]!;
    const groups = new Map<Conversation, ConversationBatch<AddressedSend>>();
    for (let n = 0; n < count; n++) {
      const conversation = conversations[this.#next[lane]!++ % conversations.length]!;
      const send = this.#send(conversation);
      const group = groups.get(conversation);
      if (group) group.sends.push(send);
      else groups.set(conversation, { conversation, sends: [send] });
    }
    await append(this.#db, [...groups.values()], {
      takeIds: (count) => this.#ids.take(count),
      nowMs: this.#clock.now(),
      nextAttemptAtMs: FAR_FUTURE_MS,
    });
  }

  /** Deletes its rows from the outbox: no session expects these entries. */
  async deleteOutbox(): Promise<void> {
    await this.#pool.query("DELETE FROM im.outbox WHERE next_attempt_at_ms = $1", [FAR_FUTURE_MS]);
  }

  #send(conversation: Conversation): AddressedSend {
    const key = Buffer.allocUnsafe(KEY_BYTES);
    const number = this.#number++;
    writeKey(key, 0, { timeUs: this.#clock.now() * 1_000, user: 0, number });
    const fields = new WireWriter(TEXT_BYTES + 64).bytes(6, key).bytes(10, this.#content).finish();
    const { conversationId } = conversation;
    const send: Send = {
      senderId: String(conversation.key),
      sessionId: "",
      target: { case: "conversationId", value: conversationId },
      clientMessageId: "",
      kind: 1,
      fields,
      keyStart: 2,
      keyLength: KEY_BYTES,
      replyTo: undefined,
      mentions: undefined,
      forwarded: undefined,
    };
    return { send, conversationId };
  }
}
