import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { fill, rowsOf, statesOf } from "#platform/buckets/move.fixture.ts";
import { startTestPostgres } from "../test/backends/postgres.ts";
import { runBuckets } from "./buckets.ts";

const { logUrls, logs } = await startTestPostgres({ after }, { logs: 3 });
const [first, second, third] = logs;
const { signal } = new AbortController();
const env = { LUCKY_LOG_LEVEL: "silent", LUCKY_POSTGRES_LOG_URLS: logUrls.join(",") };
const run = (...args: string[]) => runBuckets(args, { env, signal });
const addresses = logUrls.map((url) => new URL(url)).map(({ host, pathname }) => host + pathname);

// 24 buckets are enough: moving all of them takes long.
for (const db of logs) await db.query("UPDATE im.bucket SET state = 0 WHERE bucket >= 24");
await first!.query("UPDATE im.bucket SET state = 1 WHERE bucket >= 24");

test("list shows the buckets of each database, and move moves them from where they are", async () => {
  await fill(second!, 4);
  const before = await rowsOf(second!, 4);
  const list = await run("list");
  assert.match(list, new RegExp(`^Database 1: ${addresses[0]}\n  1008 buckets, 0 conversations\n`));
  assert.match(list, /\n {2}8 buckets, 3 conversations\n {2}buckets 1,4,7,10,13,16,19,22\n/);
  assert.ok(!list.includes("lucky:"));

  assert.equal(await run("move", "3-5", "--to", "3"), "Moved buckets: 2.");
  assert.equal(await run("move", "3-5", "--to", "3"), "No bucket needs to move.");
  assert.deepEqual(await statesOf(logs, 4), [0, 0, 1]);
  assert.deepEqual(await rowsOf(third!, 4, 1), before);
  assert.match(await run("list"), / {2}10 buckets, 3 conversations\n {2}buckets 2-5,8,11,/);
  const indexes = "SELECT FROM pg_indexes WHERE indexname LIKE '%moving'";
  for (const db of logs) assert.equal((await db.query(indexes)).rowCount, 0);
});

test("a failed or interrupted command finishes its unfinished move, and reports it", async () => {
  const abort = new AbortController();
  await fill(first!, 0);
  await first!.query("UPDATE im.conversation SET last_sequence = 31 WHERE conversation_id = 1024");
  await assert.rejects(
    run("move", "0,6", "--to", "2"),
    /^Error: Moved buckets: 0 of 2\. Then: 42 of 43 entries .* were copied\.\nNo move is unfinished\.$/,
  );
  assert.deepEqual(await statesOf(logs, 0), [1, 0, 0]);
  await first!.query("UPDATE im.conversation SET last_sequence = 30 WHERE conversation_id = 1024");
  abort.abort(new Error("Interrupted."));
  await assert.rejects(
    runBuckets(["move", "0", "--to", "2"], { env, signal: abort.signal }),
    /^Error: Moved buckets: 0 of 1\. Then: Interrupted\.\nNo move is unfinished\.$/,
  );
});

test("list shows an unfinished move, and every other command resumes it", async () => {
  await first!.query("UPDATE im.bucket SET state = 2 WHERE bucket = 6");
  await second!.query("UPDATE im.bucket SET state = 3 WHERE bucket = 6");
  assert.match(await run("list"), /Unfinished moves of buckets 6: npm run buckets -- resume$/);
  assert.equal(await run("resume"), "Unfinished moves that were resumed: 1.");
  assert.deepEqual(await statesOf(logs, 6), [1, 0, 0]);
  await first!.query("UPDATE im.bucket SET state = 2 WHERE bucket = 6");
  assert.equal(await run("move", "9", "--to", "1"), "No bucket needs to move.");
  assert.deepEqual(await statesOf(logs, 6), [1, 0, 0]);
});

test("a bucket in two databases after a restore is given up in one of them", async () => {
  await fill(first!, 12);
  await fill(second!, 12);
  const kept = await rowsOf(first!, 12);
  await second!.query("UPDATE im.bucket SET state = 1 WHERE bucket = 12");
  assert.match(await run("list"), /In several databases: buckets 12: .* give-up/);
  await assert.rejects(
    run("give-up", "0,12", "--from", "2"),
    /Bucket 0 is not in database 2\. Nothing/,
  );
  await assert.rejects(run("give-up", "0,12", "--from", "1"), /Bucket 0 is in no other database\./);
  assert.deepEqual(await statesOf(logs, 12), [1, 1, 0]);
  assert.equal(await run("give-up", "12", "--from", "2"), "Buckets that database 2 gave up: 1.");
  assert.deepEqual(await statesOf(logs, 12), [1, 0, 0]);
  assert.deepEqual(await rowsOf(first!, 12), kept);
  const rest = "SELECT FROM im.entry WHERE (conversation_id & 1023) = 12";
  assert.equal((await second!.query(rest)).rowCount, 0);
  await assert.rejects(run("give-up", "12", "--from", "4"), /There is no database 4/);
});

test("spread gives every database as many buckets", { timeout: 120_000 }, async () => {
  // As if most buckets had been moved before.
  await first!.query("UPDATE im.bucket SET state = 0 WHERE bucket >= 30");
  await second!.query("UPDATE im.bucket SET state = 1 WHERE bucket BETWEEN 30 AND 363");
  await third!.query("UPDATE im.bucket SET state = 1 WHERE bucket >= 364 AND bucket < 698");
  await first!.query("UPDATE im.bucket SET state = 1 WHERE bucket >= 698");
  const sizes = async () => {
    const counts = logs.map((db) => db.query("SELECT FROM im.bucket WHERE state = 1"));
    return (await Promise.all(counts)).map(({ rowCount }) => rowCount);
  };
  assert.deepEqual(await sizes(), [339, 341, 344]);
  assert.equal(await run("spread"), "Moved buckets: 2.");
  assert.deepEqual(await sizes(), [341, 341, 342]);
  assert.equal(await run("spread"), "No bucket needs to move.");
});

test("wrong arguments and settings are refused with an error for operators", async () => {
  for (const args of [[], ["list", "1"], ["move", "1"], ["spread", "--to", "1"], ["move", "--x"]])
    await assert.rejects(run(...args), /npm run buckets -- move <buckets> --to <n>/);
  await assert.rejects(run("move", "2000", "--to", "1"), /"2000" is not a list of buckets/);
  await assert.rejects(run("move", "1", "--to", "0"), /"0" is not the number of a database/);
  await assert.rejects(run("move", "1", "--to", "4"), /no database 4: the settings name 3/);
  const withOwner = (urls: string) => ({ ...env, LUCKY_MIGRATE_POSTGRES_LOG_URLS: urls });
  await assert.rejects(
    runBuckets(["list"], { env: withOwner(logUrls[0]!), signal }),
    /LUCKY_MIGRATE_POSTGRES_LOG_URLS has 1 URLs, and LUCKY_POSTGRES_LOG_URLS has 3/,
  );
  await assert.rejects(
    runBuckets(["list"], { env: {}, signal }),
    /Set LUCKY_POSTGRES_LOG_URLS to the databases of the log/,
  );
  const away = [...logUrls.slice(0, 2), "postgresql://lucky:secret@127.0.0.1:1/log"].join(",");
  await assert.rejects(
    runBuckets(["spread"], { env: withOwner(away), signal }),
    /PostgreSQL \(LUCKY_MIGRATE_POSTGRES_LOG_URLS, URL 3\) cannot be reached/,
  );
  const list = await runBuckets(["list"], { env: withOwner(away), signal });
  assert.match(
    list,
    /\nDatabase 3: 127\.0\.0\.1:1\/log\n {2}cannot be read: .*\nIn no database that can/,
  );
  assert.ok(!list.includes("secret"));
});

test("after an error, npm run buckets exits with 1 and prints only the reason", {
  timeout: 60_000,
}, async () => {
  const command = ["run", "--silent", "buckets", "--", "move", "1"];
  const options = {
    cwd: join(import.meta.dirname, ".."),
    env: { PATH: process.env.PATH, HOME: process.env.HOME },
  };
  const { code, stderr } = await promisify(execFile)("npm", command, options).then(
    () => assert.fail("it succeeded"),
    (error) => error,
  );
  assert.equal(code, 1);
  assert.match(stderr, /^npm run buckets does not know these arguments: move 1\n/);
});
