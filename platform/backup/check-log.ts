import type pg from "pg";

/** Conversations that an error names. */
const SHOWN = 10;

/**
 * Conversations whose entries are not exactly the sequences 1 to last_sequence. Sequences are unique,
 * so that the number, the lowest and the highest one decide. Entries without a conversation count
 * as well.
 */
const DAMAGED = `
  SELECT conversation_id, coalesce(c.last_sequence, 0) AS last_sequence,
         coalesce(e.entries, 0) AS entries, coalesce(e.highest, 0) AS highest
    FROM im.conversation c
    FULL JOIN (SELECT conversation_id, count(*) AS entries, min(sequence) AS lowest,
                      max(sequence) AS highest
                 FROM im.entry GROUP BY conversation_id) e USING (conversation_id)
   WHERE c.conversation_id IS NULL
      OR coalesce(e.entries, 0) <> c.last_sequence
      OR coalesce(e.highest, 0) <> c.last_sequence
      OR e.lowest < 1
   ORDER BY conversation_id LIMIT ${SHOWN}`;

/**
 * Checks that every conversation has as many entries as its last sequence says, numbered from 1
 * without gaps. Reads the whole log. Throws an error that names the first damaged conversations.
 */
export async function checkLog(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{
    conversation_id: string;
    last_sequence: string;
    entries: string;
    highest: string;
  }>(DAMAGED);
  if (rows.length === 0) return;
  const list = rows.map(
    ({ conversation_id: id, last_sequence: last, entries, highest }) =>
      `  conversation ${id}: last sequence ${last}, but ${entries} entries up to ${highest}`,
  );
  const more = rows.length === SHOWN ? ["  …"] : [];
  throw new Error(["The log is damaged:", ...list, ...more].join("\n"));
}
