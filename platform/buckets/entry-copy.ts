import { pipeline } from "node:stream/promises";
import pg from "pg";
import { copyIn, copyQuery } from "#platform/backup/copy.ts";
import type { Table } from "#platform/backup/format.ts";
import { IN_BUCKET } from "./moved-tables.ts";

/** Conversations in one statement. */
const PAGE_CONVERSATIONS = 5_000;
/**
 * Entries in one transaction of the target: about a second. While it runs, every Sync of the target
 * repeats the changes since its start.
 */
const CHUNK_ENTRIES = 20_000;

/** Entries of a conversation, from `low` to `high`. */
interface Range {
  readonly id: string;
  readonly low: number;
  readonly high: number;
}

export interface EntryCopyOptions {
  readonly source: pg.Client;
  readonly target: pg.Client;
  readonly entries: Table;
  readonly bucket: number;
}

/** The conversations of a bucket in pages, by ascending id. */
export async function* pages(
  client: pg.Client,
  bucket: number,
): AsyncGenerator<{ id: string; last: number }[], void, void> {
  let after = "-1";
  for (;;) {
    const { rows } = await client.query<{ id: string; last: string }>(
      `SELECT conversation_id AS id, last_sequence AS last FROM im.conversation
        WHERE ${IN_BUCKET} AND conversation_id > $2 ORDER BY conversation_id LIMIT $3`,
      [bucket, after, PAGE_CONVERSATIONS],
    );
    if (rows.length === 0) return;
    yield rows.map(({ id, last }) => ({ id, last: Number(last) }));
    after = rows.at(-1)!.id;
  }
}

/**
 * The entries of the conversations $1 that edits and recalls after the sequences $2 may have changed: the
 * messages, and the entries of their edits.
 */
const SELECT_CHANGED = `
  SELECT i.id, e.sequence
    FROM unnest($1::bigint[], $2::bigint[]) AS i(id, copied)
   CROSS JOIN LATERAL (
     SELECT s.sequence FROM im.message_state s
      WHERE s.conversation_id = i.id AND s.changed_sequence > i.copied OFFSET 0) s
   CROSS JOIN LATERAL (
     SELECT s.sequence
      UNION ALL
     SELECT r.edit_sequence FROM im.revision r
      WHERE r.conversation_id = i.id AND r.sequence = s.sequence) e`;

/**
 * Copies the entries of a bucket in rounds: each round copies the entries that were appended since
 * the previous one. Checks the number of rows of each copy.
 */
export class EntryCopy {
  readonly #options: EntryCopyOptions;
  /** By conversation: the last copied sequence. */
  readonly #copied = new Map<string, number>();
  /**
   * Conversations with entries in several rounds: the last sequence of their first round. A change that is
   * missing in a copied entry has a greater sequence, because its own entry did not exist then.
   */
  readonly #grown = new Map<string, number>();

  constructor(options: EntryCopyOptions) {
    this.#options = options;
  }

  /**
   * Copies the entries that the target lacks; returns their number. Runs in the caller's transaction if
   * there is one, or else in transactions of bounded size. Throws before the next chunk when the signal
   * aborts.
   */
  async round(signal?: AbortSignal): Promise<number> {
    let total = 0;
    let size = 0;
    let ranges: Range[] = [];
    const flush = async () => {
      signal?.throwIfAborted();
      await this.#copy(ranges, size);
      for (const { id, high } of ranges) this.#copied.set(id, high);
      total += size;
      [ranges, size] = [[], 0];
    };
    for await (const page of pages(this.#options.source, this.#options.bucket)) {
      for (const { id, last } of page) {
        const copied = this.#copied.get(id) ?? 0;
        if (copied > 0 && last > copied && !this.#grown.has(id)) this.#grown.set(id, copied);
        for (let low = copied + 1; low <= last; ) {
          const high = Math.min(last, low + CHUNK_ENTRIES - size - 1);
          ranges.push({ id, low, high });
          size += high - low + 1;
          low = high + 1;
          if (size === CHUNK_ENTRIES || ranges.length === PAGE_CONVERSATIONS) await flush();
        }
        if (!this.#copied.has(id)) this.#copied.set(id, 0);
      }
    }
    if (size > 0) await flush();
    return total;
  }

  /**
   * Copies the entries again that were changed after their copy. Runs in the caller's transaction, when
   * nothing can change any more and all entries are copied.
   */
  async refresh(): Promise<void> {
    const grown = [...this.#grown];
    for (let at = 0; at < grown.length; at += PAGE_CONVERSATIONS) {
      const page = grown.slice(at, at + PAGE_CONVERSATIONS);
      const { rows } = await this.#options.source.query<{ id: string; sequence: string }>(
        SELECT_CHANGED,
        [page.map(([id]) => id), page.map(([, copied]) => copied)],
      );
      for (let from = 0; from < rows.length; from += CHUNK_ENTRIES)
        await this.#replace(rows.slice(from, from + CHUNK_ENTRIES));
    }
  }

  /** Copies entries that the target has already. */
  async #replace(entries: readonly { readonly id: string; readonly sequence: string }[]) {
    const { rowCount } = await this.#options.target.query(
      `DELETE FROM im.entry e USING unnest($1::bigint[], $2::bigint[]) AS i(id, sequence)
        WHERE e.conversation_id = i.id AND e.sequence = i.sequence`,
      [entries.map(({ id }) => id), entries.map(({ sequence }) => sequence)],
    );
    if (rowCount !== entries.length)
      throw new Error(`The target has ${rowCount} of ${entries.length} changed entries.`);
    const ranges = entries.map(({ id, sequence }) => {
      const at = Number(sequence);
      return { id, low: at, high: at };
    });
    await this.#copy(ranges, entries.length);
  }

  /**
   * Throws unless the target has exactly the entries of each conversation from 1 to the last copied
   * sequence. Reads all of them.
   */
  async verify(): Promise<void> {
    const all = [...this.#copied];
    for (let at = 0; at < all.length; at += PAGE_CONVERSATIONS) {
      const page = all.slice(at, at + PAGE_CONVERSATIONS);
      const { rows } = await this.#options.target.query<{ id: string; n: string; last: string }>(
        `SELECT i.id, e.n, i.last FROM unnest($1::bigint[], $2::bigint[]) AS i(id, last)
          CROSS JOIN LATERAL (SELECT count(*) AS n, coalesce(max(sequence), 0) AS highest
                                FROM im.entry WHERE conversation_id = i.id) e
          WHERE e.n <> i.last OR e.highest <> i.last LIMIT 1`,
        [page.map(([id]) => id), page.map(([, last]) => last)],
      );
      const [wrong] = rows;
      if (wrong !== undefined)
        throw new Error(
          `The target has ${wrong.n} of ${wrong.last} entries of conversation ${wrong.id}.`,
        );
    }
  }

  /** Throws unless the target has all entries of each conversation that the source has now. */
  async mustBeComplete(): Promise<void> {
    for await (const page of pages(this.#options.source, this.#options.bucket))
      for (const { id, last } of page)
        if (this.#copied.get(id) !== last)
          throw new Error(`Entries of conversation ${id} were appended during its move.`);
  }

  async #copy(ranges: readonly Range[], size: number): Promise<void> {
    const { source, target, entries } = this.#options;
    const columns = entries.columns.map((column) => `e.${pg.escapeIdentifier(column)}`).join(", ");
    const array = (values: readonly (string | number)[]) => `'{${values.join(",")}}'::bigint[]`;
    const rows = copyQuery(
      source,
      `SELECT ${columns}
         FROM unnest(${array(ranges.map(({ id }) => id))}, ${array(ranges.map(({ low }) => low))},
                     ${array(ranges.map(({ high }) => high))}) AS r(id, low, high)
        CROSS JOIN LATERAL (SELECT * FROM im.entry WHERE conversation_id = r.id
                               AND sequence BETWEEN r.low AND r.high OFFSET 0) e`,
    );
    const copy = copyIn(target, entries);
    await pipeline(rows, copy);
    if (copy.rowCount !== size)
      throw new Error(
        `${copy.rowCount} of ${size} entries of bucket ${this.#options.bucket} were copied.`,
      );
  }
}
