import type pg from "pg";

/** Maximum conversations, and ranges of missing sequences of each, in the description of a damage. */
const SHOWN = 10;
const SHOWN_RANGES = 3;

/**
 * Conversations whose entries are not exactly the sequences 1 to last_sequence. Sequences are unique,
 * so that the number, the lowest and the highest one decide. Entries without a conversation count
 * as well. The ranges of missing sequences are read for the named conversations only.
 */
const DAMAGED = `
  WITH damaged AS (
    SELECT conversation_id, c.last_sequence, coalesce(e.entries, 0) AS entries,
           count(*) OVER () AS conversations
      FROM im.conversation c
      FULL JOIN (SELECT conversation_id, count(*) AS entries, min(sequence) AS lowest,
                        max(sequence) AS highest
                   FROM im.entry GROUP BY conversation_id) e USING (conversation_id)
     WHERE c.conversation_id IS NULL
        OR coalesce(e.entries, 0) <> c.last_sequence
        OR coalesce(e.highest, 0) <> c.last_sequence
        OR e.lowest < 1
     ORDER BY conversation_id LIMIT ${SHOWN}
  ), sequences AS (
    SELECT d.conversation_id, e.sequence
      FROM damaged d JOIN im.entry e USING (conversation_id)
     WHERE e.sequence BETWEEN 1 AND d.last_sequence
     UNION ALL
    SELECT conversation_id, last_sequence + 1 FROM damaged WHERE last_sequence IS NOT NULL
  ), missing AS (
    SELECT conversation_id, array_agg(concat_ws('–', first, nullif(last, first)) ORDER BY first) AS ranges,
           sum(last - first + 1) AS missing
      FROM (SELECT conversation_id, sequence - 1 AS last,
                   1 + lag(sequence, 1, 0::bigint)
                         OVER (PARTITION BY conversation_id ORDER BY sequence) AS first
              FROM sequences) r
     WHERE first <= last GROUP BY conversation_id
  )
  SELECT d.*, coalesce(m.missing, 0) AS missing,
         coalesce(m.ranges[:${SHOWN_RANGES}], '{}') AS ranges, cardinality(m.ranges) AS all_ranges
    FROM damaged d LEFT JOIN missing m USING (conversation_id) ORDER BY conversation_id`;

interface DamagedRow {
  conversation_id: string;
  /** Null for entries without a conversation. */
  last_sequence: string | null;
  entries: string;
  /** Number of damaged conversations. */
  conversations: string;
  /** Number of missing entries. */
  missing: string;
  /** The first ranges of them, and the number of all. */
  ranges: string[];
  all_ranges: number | null;
}

/**
 * Checks that every conversation has as many entries as its last sequence says, numbered from 1
 * without gaps. Reads the whole log. Returns a short text for operators, line by line, with the first
 * damaged conversations and their missing sequences; no lines for a complete log.
 */
export async function findDamage(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<DamagedRow>(DAMAGED);
  if (rows.length === 0) return [];
  const more = Number(rows[0]!.conversations) - rows.length;
  return [
    `The log is damaged. Number of conversations: ${rows[0]!.conversations}`,
    ...rows.map((row) => `  conversation ${row.conversation_id}: ${describe(row)}`),
    ...(more > 0 ? [`  … and ${more} more`] : []),
  ];
}

function describe({
  last_sequence: last,
  entries,
  missing,
  ranges,
  all_ranges,
}: DamagedRow): string {
  if (last === null) return `does not exist, but has ${entries} entries`;
  const faults: string[] = [];
  const more = (all_ranges ?? 0) > ranges.length ? ", …" : "";
  if (missing !== "0")
    faults.push(`lacks ${missing} of ${last} entries: ${ranges.join(", ")}${more}`);
  const surplus = Number(entries) - (Number(last) - Number(missing));
  if (surplus > 0) faults.push(`has ${surplus} entries outside of 1–${last}`);
  return faults.join("; ");
}

/** Throws an error for operators when the log is damaged. */
export async function checkLog(client: pg.Client): Promise<void> {
  const damage = await findDamage(client);
  if (damage.length > 0) throw new Error(damage.join("\n"));
}
