import pg from "pg";

/** Bytes on disk per row of the log's tables, with their indexes. */
export async function readRowBytes(url: string): Promise<Record<string, number>> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query(`
      SELECT round(pg_total_relation_size('im.entry')::float8 / greatest(1, (SELECT count(*) FROM im.entry)))
               AS entry,
             round(pg_total_relation_size('im.member')::float8 / greatest(1, (SELECT count(*) FROM im.member)))
               AS member,
             round(pg_total_relation_size('im.conversation')::float8
                   / greatest(1, (SELECT count(*) FROM im.conversation))) AS conversation`);
    return rows[0] as Record<string, number>;
  } finally {
    await client.end();
  }
}
