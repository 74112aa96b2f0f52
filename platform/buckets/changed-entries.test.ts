import assert from "node:assert/strict";
import { after, test } from "node:test";
import type pg from "pg";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { closeLogs, lockLogs } from "./locked-logs.ts";
import { fill, idOf, rowsOf } from "./move.fixture.ts";
import { type MoveOptions, moveBuckets } from "./move.ts";

const { logUrls, logs } = await startTestPostgres({ after }, { logs: 2 });
const [source, target] = logs as [pg.Pool, pg.Pool];

/** Moves a bucket from the first database to the second one. */
async function move(bucket: number, onStep: MoveOptions["onStep"] & {}): Promise<void> {
  const addresses = logUrls.map((url, at) => ({ url, variable: `URL ${at + 1}` }));
  const databases = await lockLogs(addresses, { waitMs: 10_000 });
  const [from, to] = databases;
  const { signal } = new AbortController();
  const options = { from: from!, to: to!, buckets: [bucket], signal, log: quiet, onStep };
  await moveBuckets(options).finally(() => closeLogs(databases));
}

/** Writes a change into a conversation: the next entry, the body of message 4, and its state. */
const change = (id: string, sequence: number, body: string) =>
  source.query(`
    BEGIN;
    UPDATE im.conversation SET last_sequence = ${sequence} WHERE conversation_id = ${id};
    INSERT INTO im.entry VALUES (${id}, ${sequence}, ${id} + ${sequence}, 1, NULL, 20, 30, 5, 'change');
    INSERT INTO im.change VALUES (${id}, ${sequence}, 28);
    UPDATE im.entry SET body = '${body}' WHERE conversation_id = ${id} AND sequence = 4;
    UPDATE im.entry SET body = 'superseded'
     WHERE conversation_id = ${id} AND sequence IN (
       SELECT edit_sequence FROM im.revision WHERE conversation_id = ${id} AND sequence = 4);
    INSERT INTO im.revision
    SELECT ${id}, 4, edits, ${sequence}, 5, 'old' FROM im.message_state
     WHERE conversation_id = ${id} AND sequence = 4;
    UPDATE im.message_state SET changed_sequence = ${sequence}, edits = edits + 1
     WHERE conversation_id = ${id} AND sequence = 4;
    COMMIT`);

test("entries that change during a move are in the target as they are after the last change", async () => {
  const bucket = 4;
  await fill(source, bucket);
  const id = idOf(bucket, 1);
  let before: unknown;
  await move(bucket, async (step) => {
    // The entries are copied between these steps.
    if (step === "prepared") await change(id, 31, "edited before the copy");
    if (step !== "copied") return;
    await change(id, 32, "edited after the copy");
    await change(id, 33, "recalled");
    before = await rowsOf(source, bucket);
  });
  assert.deepEqual(await rowsOf(target, bucket, 1), before);
  const { rows } = await target.query(
    `SELECT sequence, convert_from(body, 'UTF8') AS body FROM im.entry
      WHERE conversation_id = $1 AND sequence IN (4, 29, 31, 32, 33) ORDER BY sequence`,
    [id],
  );
  assert.deepEqual(
    rows.map(({ sequence, body }) => [sequence, body]),
    [
      ["4", "recalled"],
      ["29", "superseded"],
      ["31", "superseded"],
      ["32", "superseded"],
      ["33", "change"],
    ],
  );
});
