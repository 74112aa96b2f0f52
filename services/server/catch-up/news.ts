import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Database } from "../log/database.ts";
import { type Position, settledChange } from "../log/positions.ts";
import {
  deleteNews,
  type LogState,
  markNews,
  type NewsRow,
  readNews,
  readUnconfirmed,
} from "./news-rows.ts";

export interface NewsOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Log;
  /** Interval at which the news is read and deleted, ms. */
  readonly intervalMs: number;
  /**
   * Maximum conversations, and maximum memberships, in memory; beyond it the oldest news is evicted. A
   * read stops after this number of both together.
   */
  readonly maxConversations: number;
  /** Called when the log has another history than at an earlier read. */
  readonly historyChanged: () => void;
}

/** The news is kept for this number of intervals, in the database and in memory. */
const KEPT_INTERVALS = 4;
/**
 * Maximum unconfirmed batches, and their maximum conversations and memberships, in memory. Both may be
 * exceeded by one page; beyond that the sweep selects by users.
 */
const MAX_UNCONFIRMED_ROWS = 2_000;
const MAX_UNCONFIRMED_ITEMS = 100_000;
/** Maximum pages of news in one read; when there are more, the sweep selects by users. */
const MAX_PAGES = 400;
/** Less than each id of the outbox, negative ones included. */
const BEFORE_ALL_IDS = String(-(2n ** 63n));
/** Age of the lowest running transaction from which a warning is logged, ms. */
const LONG_TRANSACTION_MS = 60_000;

/** A user whose membership in a group changed. */
export interface MemberNews {
  readonly userId: string;
  readonly groupId: string;
}

/** Conversations with new entries since a position. */
export interface ChangedSince {
  /** By conversation: its last sequence. */
  readonly conversations: ReadonlyMap<string, bigint>;
  readonly members: readonly MemberNews[];
}

/** A database, and the epoch of the last reset of its log. */
export interface LogEpoch {
  readonly databaseId: string;
  readonly epoch: bigint;
}

/** News of a conversation: its last sequence, and the transaction that stored the news. */
interface ConversationNews {
  readonly lastSequence: bigint;
  readonly change: bigint;
}

/**
 * Changed conversations of the last minutes, of all servers, for the sweep. A committed entry is in
 * the outbox until the bus has confirmed it, and in the news after that, so that a server that dies
 * between commit and publication loses no entry. The news is read at each sweep and deleted after some
 * intervals. An empty row of news marks the start of an interval.
 */
export class News {
  readonly #options: NewsOptions;
  /** By conversation, in the order of the reads. */
  readonly #conversations = new Map<string, ConversationNews>();
  /** By group and user, in the order of the reads. */
  readonly #members = new Map<string, MemberNews & { readonly change: bigint }>();
  /** The unconfirmed batches; undefined when there are too many. */
  #unconfirmed: readonly NewsRow[] | undefined = [];
  #position: Position | undefined;
  #epoch: LogEpoch | undefined;
  /** The transaction after the last one that stored news. */
  #reached = 0n;
  /** News of transactions before it was deleted, because of its age. */
  #floor = 0n;
  /** News of transactions before it is incomplete: too much was read or kept. */
  #completeFrom = 0n;
  /** Transactions that marked the starts of the last intervals, the oldest first. */
  #marks: string[] = [];
  /** The lowest running transaction since it was first seen; undefined while none is running. */
  #running: { readonly change: string; readonly sinceMs: number; warned: boolean } | undefined;
  #reading: Promise<Position> | undefined;
  #timer: Timer | undefined;

  constructor(options: NewsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.clock.every(this.#options.intervalMs, () => void this.#tick());
  }

  stop(): void {
    this.#timer?.stop();
  }

  /** The first transaction whose news is kept, as of the last `read`. */
  get floor(): string {
    return String(this.#floor);
  }

  /** The epoch of the log, as of the last `read`. */
  get epoch(): LogEpoch | undefined {
    return this.#epoch;
  }

  /**
   * Age of the lowest running transaction since it was first seen, seconds; 0 when none is running.
   */
  get runningSeconds(): number {
    const { clock } = this.#options;
    return this.#running === undefined ? 0 : (clock.elapsed() - this.#running.sinceMs) / 1_000;
  }

  /** Reads the news, and returns the position for the next `since`. Throws UNAVAILABLE. */
  read(): Promise<Position> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /**
   * The changes since a position, or all kept changes without one, as of the last `read`. Undefined
   * when they are unknown: the position is older than the kept news or of another history, or there
   * was too much news or too many unconfirmed batches.
   */
  since(position: Position | undefined): ChangedSince | undefined {
    const from = position === undefined ? this.#floor : BigInt(position.change);
    if (from < this.#floor || from < this.#completeFrom || this.#unconfirmed === undefined) return;
    if (position !== undefined && position.history !== this.#position?.history) return;
    const conversations = new Map<string, bigint>();
    for (const [conversationId, { lastSequence, change }] of this.#conversations)
      if (change >= from) conversations.set(conversationId, lastSequence);
    const members = new Map<string, MemberNews>();
    for (const [key, member] of this.#members) if (member.change >= from) members.set(key, member);
    for (const row of this.#unconfirmed) {
      for (const [at, id] of row.conversation_ids.entries()) {
        const last = BigInt(row.last_sequences[at]!);
        if (last > (conversations.get(id) ?? 0n)) conversations.set(id, last);
      }
      for (const member of memberNews(row)) members.set(memberKey(member), member);
    }
    return { conversations, members: [...members.values()] };
  }

  async #tick(): Promise<void> {
    const { db, log } = this.#options;
    try {
      await this.read();
      const [mark] = await db.run<{ changed_by: string }>(markNews, []);
      this.#marks.push(mark!.changed_by);
      if (this.#marks.length <= KEPT_INTERVALS) return;
      const floor = this.#marks.shift()!;
      await db.run(deleteNews, [floor]);
      this.#evictBefore(BigInt(floor));
    } catch (error) {
      log.warn({ event: "news_failed", database: db.number + 1, err: error });
    }
  }

  async #read(): Promise<Position> {
    // The outbox first: a row that is confirmed in between is found in the news.
    const { state, unconfirmed } = await this.#readUnconfirmed();
    this.#adopt(state);
    this.#warnOfLongTransaction(state);
    await this.#readNews(state);
    this.#unconfirmed = unconfirmed;
    this.#position = {
      history: state.history,
      change: settledChange(state.lowest_running, this.#reached),
    };
    return this.#position;
  }

  async #readUnconfirmed(): Promise<{ state: LogState; unconfirmed: NewsRow[] | undefined }> {
    const { db } = this.#options;
    let page = await readUnconfirmed(db, BEFORE_ALL_IDS);
    const { state } = page;
    const unconfirmed = [...page.rows];
    while (page.isFull) {
      const isTooMany =
        unconfirmed.length >= MAX_UNCONFIRMED_ROWS || items(unconfirmed) > MAX_UNCONFIRMED_ITEMS;
      if (isTooMany) return { state, unconfirmed: undefined };
      page = await readUnconfirmed(db, unconfirmed.at(-1)!.id);
      unconfirmed.push(...page.rows);
    }
    return { state, unconfirmed };
  }

  /** Reads the news since the last read, at most MAX_PAGES and `maxConversations`. */
  async #readNews({ history, next_change: nextChange }: LogState): Promise<void> {
    const { db, maxConversations } = this.#options;
    const from = max(BigInt(this.#position?.change ?? 0), max(this.#floor, this.#completeFrom));
    let after = { change: String(from), afterId: "0" };
    let read = 0;
    for (let pages = 1; ; pages++) {
      const page = await readNews(db, after);
      if (page.state.history !== history)
        throw fail(ErrorReason.UNAVAILABLE, "the history of the log changed during the read");
      this.#cache(page.rows);
      if (!page.isFull) return;
      read += items(page.rows);
      if (pages === MAX_PAGES || read > maxConversations) break;
      const { changed_by: change, id } = page.rows.at(-1)!;
      after = { change: change!, afterId: id };
    }
    this.#completeFrom = BigInt(nextChange);
  }

  /** Adopts the log's floor, and clears the cache when the log has another history. */
  #adopt({ history, floor, database_id: databaseId, log_epoch: epoch }: LogState): void {
    this.#epoch = { databaseId, epoch: BigInt(epoch) };
    if (history !== this.#position?.history) {
      if (this.#position !== undefined) this.#reset(history);
      this.#conversations.clear();
      this.#members.clear();
      this.#marks = [];
      this.#reached = this.#floor = this.#completeFrom = 0n;
      this.#position = { history, change: "0" };
    }
    this.#floor = max(this.#floor, BigInt(floor));
    this.#reached = max(this.#reached, this.#floor);
  }

  /** The log may have returned to an earlier state: what was cached of it may be wrong. */
  #reset(history: string): void {
    const { db, log, historyChanged } = this.#options;
    log.warn({ event: "log_history_changed", database: db.number + 1, history });
    historyChanged();
  }

  /**
   * Logs once when a transaction has been running for a minute: Sync and the sweep return all changes
   * since its start each time.
   */
  #warnOfLongTransaction({ lowest_running: change, next_change: next }: LogState): void {
    const { db, clock, log } = this.#options;
    const sinceMs = clock.elapsed();
    if (change === next) this.#running = undefined;
    else if (change !== this.#running?.change) this.#running = { change, sinceMs, warned: false };
    else if (!this.#running.warned && sinceMs - this.#running.sinceMs >= LONG_TRANSACTION_MS) {
      this.#running.warned = true;
      const durationMs = Math.round(sinceMs - this.#running.sinceMs);
      const database = db.number + 1;
      log.warn({ event: "transaction_too_long", database, transactionId: change, durationMs });
    }
  }

  #cache(rows: readonly NewsRow[]): void {
    for (const row of rows) {
      const change = BigInt(row.changed_by!);
      this.#reached = max(this.#reached, change + 1n);
      for (const [at, id] of row.conversation_ids.entries()) {
        const last = BigInt(row.last_sequences[at]!);
        const before = this.#conversations.get(id)?.lastSequence ?? 0n;
        this.#conversations.delete(id);
        this.#conversations.set(id, { lastSequence: max(last, before), change });
      }
      for (const member of memberNews(row)) {
        const key = memberKey(member);
        this.#members.delete(key);
        this.#members.set(key, { ...member, change });
      }
    }
    this.#evict(this.#conversations);
    this.#evict(this.#members);
  }

  /** Evicts the oldest news beyond the bound; older news is incomplete from then on. */
  #evict(news: Map<string, { readonly change: bigint }>): void {
    for (const [key, { change }] of news) {
      if (news.size <= this.#options.maxConversations) return;
      news.delete(key);
      this.#completeFrom = max(this.#completeFrom, change + 1n);
    }
  }

  #evictBefore(floor: bigint): void {
    this.#floor = max(this.#floor, floor);
    for (const news of [this.#conversations, this.#members] as Map<string, { change: bigint }>[])
      for (const [key, { change }] of news) if (change < floor) news.delete(key);
  }
}

function memberKey({ userId, groupId }: MemberNews): string {
  return `${groupId} ${userId}`;
}

function memberNews(row: NewsRow): MemberNews[] {
  return row.member_ids.map((userId, at) => ({
    userId,
    groupId: row.member_conversation_ids[at]!,
  }));
}

/** Number of conversations and memberships in the rows. */
function items(rows: readonly NewsRow[]): number {
  let sum = 0;
  for (const row of rows) sum += row.conversation_ids.length + row.member_ids.length;
  return sum;
}

const max = (a: bigint, b: bigint) => (a > b ? a : b);
