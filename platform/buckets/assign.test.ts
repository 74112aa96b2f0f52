import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../test/backends/postgres.ts";
import { assignBuckets } from "./assign.ts";

const COUNT = 3;
const { logUrls, logs } = await startTestPostgres({ after }, { logs: COUNT });
const addresses = logUrls.map((url) => ({ url }));
const [first, second, third] = logs;

/** The number of buckets in each database. */
async function sizes(): Promise<number[]> {
  const counts = logs.map((db) => db.query("SELECT FROM im.bucket WHERE state = 1"));
  return (await Promise.all(counts)).map(({ rowCount }) => rowCount!);
}

async function clear(): Promise<void> {
  for (const db of logs) await db.query("UPDATE im.bucket SET state = 0");
}

test("an assignment that one database refuses assigns nothing, and can be repeated", async () => {
  await clear();
  await first!.query("CREATE ROLE weak LOGIN PASSWORD 'weak'");
  await third!.query("GRANT USAGE ON SCHEMA im TO weak");
  await third!.query("GRANT SELECT ON im.bucket, im.database, im.conversation TO weak");
  const weak = new URL(logUrls[2]!);
  [weak.username, weak.password] = ["weak", "weak"];
  await assert.rejects(
    assignBuckets(addresses.with(2, { url: weak.href })),
    /Run "npm run migrate" as the owner/,
  );
  assert.deepEqual(await sizes(), [0, 0, 0]);
  await assignBuckets(addresses);
  assert.deepEqual(await sizes(), [342, 341, 341]);
});

test("an assignment that crashed between two commits is completed, unless there are conversations", async () => {
  await second!.query("UPDATE im.bucket SET state = 0");
  await first!.query(
    "INSERT INTO im.conversation (conversation_id, kind, member_count, created_at_ms) VALUES (1024, 1, 2, 0)",
  );
  await assignBuckets(addresses);
  assert.deepEqual(await sizes(), [342, 0, 341]);
  await first!.query("DELETE FROM im.conversation");
  await assignBuckets(addresses);
  assert.deepEqual(await sizes(), [342, 341, 341]);
});

test("buckets that are spread in any other way stay as they are", async () => {
  await second!.query("UPDATE im.bucket SET state = 0");
  await first!.query("UPDATE im.bucket SET state = 1 WHERE bucket = 400");
  await assignBuckets(addresses);
  assert.deepEqual(await sizes(), [343, 0, 341]);
});
