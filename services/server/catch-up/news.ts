import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Database, Statement } from "../log/database.ts";
import type { Position } from "../log/positions.ts";

export interface NewsOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Log;
  /** Interval at which the news are read and deleted, ms. */
  readonly intervalMs: number;
  /** Maximum conversations in memory; older news are evicted beyond it. */
  readonly maxConversations: number;
}

/** The log's position, in each row; the other columns are null when nothing was found. */
interface PositionRow {
  history: string;
  lowest_running: string;
  floor: string;
}

interface ChangesRow extends PositionRow {
  changed_by: string | null;
  conversation_ids: string[];
  last_sequences: string[];
  member_conversation_ids: string[];
  member_ids: string[];
}

/** Rows in one statement. */
const PAGE_ROWS = 2_000;
/** News are kept for this number of intervals, in the database and in memory. */
const KEPT_INTERVALS = 4;

const POSITION = `
  SELECT im.history() AS history, pg_snapshot_xmin(pg_current_snapshot()) AS lowest_running,
         (SELECT f.floor FROM im.news_floor f WHERE f.one_row) AS floor`;

/** Batches that the bus has not confirmed: their entries may not have been delivered. */
export const selectUnconfirmed: Statement = {
  name: "im_unconfirmed",
  route: { kind: "own" },
  text: `
    SELECT p.*, o.*
      FROM (${POSITION}) p
      LEFT JOIN LATERAL (
        SELECT NULL AS changed_by, conversation_ids::text[],
               ARRAY(SELECT i.base + i.entries
                       FROM unnest(base_sequences, counts) AS i(base, entries))::text[]
                 AS last_sequences,
               array_fill(conversation_ids[1], ARRAY[cardinality(member_ids)])::text[]
                 AS member_conversation_ids,
               member_ids::text[]
          FROM im.outbox ORDER BY outbox_id LIMIT $1::int) o ON true`,
};

/** A page of news from the transaction $2 on; from the first news when the history is not $1. */
export const selectNews: Statement = {
  name: "im_news",
  route: { kind: "own" },
  text: `
    SELECT p.*, n.changed_by, n.conversation_ids::text[], n.last_sequences::text[],
           n.member_conversation_ids::text[], n.member_ids::text[]
      FROM (${POSITION}) p
      LEFT JOIN LATERAL (SELECT * FROM im.news w
                          WHERE w.changed_by >= CASE WHEN p.history = $1::text THEN $2::xid8
                                                     ELSE '0' END
                          ORDER BY w.changed_by LIMIT $3::int) n ON true
     ORDER BY n.changed_by`,
};

/** Deletes the news before the transaction $1, and raises the floor to it. */
export const deleteNews: Statement = {
  name: "im_news_delete",
  route: { kind: "own" },
  text: `
    WITH raised AS (
      UPDATE im.news_floor SET floor = $1::xid8 WHERE one_row AND floor < $1::xid8 RETURNING 1
    )
    DELETE FROM im.news WHERE changed_by < $1::xid8 AND EXISTS (SELECT FROM raised)`,
};

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

/** News of a conversation: its last sequence, and the transaction that stored the news. */
interface Told {
  lastSequence: bigint;
  change: bigint;
}

/**
 * Changed conversations of the last minutes, of all servers, for the sweep. A committed entry is in
 * the outbox until the bus has confirmed it, and in the news after that, so that a server that dies
 * between commit and publication leaves no hole. News are read at each sweep and deleted after some
 * intervals. The lowest running transaction at a tick marks the start of an interval.
 */
export class News {
  readonly #options: NewsOptions;
  /** By conversation; the news that were read last are at the end. */
  readonly #told = new Map<string, Told>();
  readonly #members = new Map<string, MemberNews & { readonly change: bigint }>();
  #unconfirmed: readonly ChangesRow[] = [];
  /** The next read continues here. */
  #position: Position | undefined;
  /** News before it are incomplete. */
  #floor = 0n;
  /** Positions at the last intervals, the oldest first. */
  #intervals: string[] = [];
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

  /** Reads the news, and returns the position for the next `since`. Throws UNAVAILABLE. */
  read(): Promise<Position> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /**
   * The changes since a position, or all known ones without it, as of the last `read`. Undefined when
   * the position is older than the kept news or of another history, or the outbox fills a page.
   */
  since(position: Position | undefined): ChangedSince | undefined {
    const from = position === undefined ? this.#floor : BigInt(position.change);
    if (from < this.#floor || (position && position.history !== this.#position?.history)) return;
    if (this.#unconfirmed.length === PAGE_ROWS) return;
    const conversations = new Map<string, bigint>();
    for (const [conversationId, { lastSequence, change }] of this.#told)
      if (change >= from) conversations.set(conversationId, lastSequence);
    const members = new Map([...this.#members].filter(([, { change }]) => change >= from));
    for (const row of this.#unconfirmed) {
      for (const [at, id] of row.conversation_ids.entries()) {
        const last = BigInt(row.last_sequences[at]!);
        if (last > (conversations.get(id) ?? 0n)) conversations.set(id, last);
      }
      for (const member of memberNews(row, 0n)) members.set(memberKey(member), member);
    }
    return { conversations, members: [...members.values()] };
  }

  async #tick(): Promise<void> {
    const { db, log } = this.#options;
    try {
      this.#intervals.push((await this.read()).change);
      if (this.#intervals.length <= KEPT_INTERVALS) return;
      const floor = this.#intervals.shift()!;
      await db.run(deleteNews, [floor]);
      this.#forget(BigInt(floor));
    } catch (error) {
      log.warn({ event: "news_failed", err: error });
    }
  }

  async #read(): Promise<Position> {
    const { db } = this.#options;
    // The outbox first: a row that is confirmed in between is found in the news.
    const unconfirmed = await db.run<ChangesRow>(selectUnconfirmed, [PAGE_ROWS]);
    const { history, lowest_running: lowestRunning } = unconfirmed[0]!;
    let from = this.#position?.change ?? "0";
    for (;;) {
      const values = [this.#position?.history ?? "", from, PAGE_ROWS];
      const rows = await db.run<ChangesRow>(selectNews, values);
      this.#learn(rows);
      const last = rows.at(-1)!.changed_by;
      if (rows.length < PAGE_ROWS || last === null) break;
      from = last;
    }
    this.#unconfirmed = unconfirmed.filter((row) => row.conversation_ids !== null);
    this.#position = { history, change: lowestRunning };
    return this.#position;
  }

  #learn(rows: readonly ChangesRow[]): void {
    const { history, floor } = rows[0]!;
    if (history !== this.#position?.history) {
      this.#told.clear();
      this.#members.clear();
      this.#intervals = [];
      this.#floor = 0n;
      this.#position = { history, change: "0" };
    }
    if (BigInt(floor) > this.#floor) this.#floor = BigInt(floor);
    for (const row of rows) {
      if (row.changed_by === null) continue;
      const change = BigInt(row.changed_by);
      for (const [at, id] of row.conversation_ids.entries()) {
        const last = BigInt(row.last_sequences[at]!);
        const before = this.#told.get(id)?.lastSequence ?? 0n;
        this.#told.delete(id);
        this.#told.set(id, { lastSequence: last > before ? last : before, change });
      }
      for (const member of memberNews(row, change)) this.#members.set(memberKey(member), member);
    }
    this.#evict();
  }

  /** Evicts the oldest conversations beyond the bound; the news are incomplete before them. */
  #evict(): void {
    for (const [id, { change }] of this.#told) {
      if (this.#told.size <= this.#options.maxConversations) return;
      this.#told.delete(id);
      if (change >= this.#floor) this.#floor = change + 1n;
    }
  }

  #forget(floor: bigint): void {
    if (floor > this.#floor) this.#floor = floor;
    for (const [id, { change }] of this.#told) if (change < floor) this.#told.delete(id);
    for (const [key, { change }] of this.#members) if (change < floor) this.#members.delete(key);
  }
}

function memberKey({ userId, groupId }: MemberNews): string {
  return `${groupId} ${userId}`;
}

function memberNews(row: ChangesRow, change: bigint): (MemberNews & { change: bigint })[] {
  return row.member_ids.map((userId, at) => ({
    userId,
    groupId: row.member_conversation_ids[at]!,
    change,
  }));
}
