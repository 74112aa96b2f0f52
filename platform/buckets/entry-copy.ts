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
 * Copies the entries of a bucket in rounds: each round copies the entries that were appended since
 * the previous one. Checks the number of rows of each copy.
 */
export class EntryCopy {
  readonly #options: EntryCopyOptions;
  /** By conversation: the last copied sequence. */
  readonly #copied = new Map<string, number>();

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
      total += size;
      [ranges, size] = [[], 0];
    };
    for await (const page of pages(this.#options.source, this.#options.bucket)) {
      for (const { id, last } of page) {
        for (let low = (this.#copied.get(id) ?? 0) + 1; low <= last; ) {
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
    for (const { id, high } of ranges) this.#copied.set(id, high);
  }
}
