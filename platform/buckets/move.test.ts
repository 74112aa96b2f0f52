import assert from "node:assert/strict";
import { after, test } from "node:test";
import type pg from "pg";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { bucketOfPair } from "./bucket.ts";
import { closeLogs, type LockedLog, lockLogs } from "./locked-logs.ts";
import { fill, idOf, rowsOf, statesOf, Writer } from "./move.fixture.ts";
import { type MoveOptions, type MoveStep, moveBuckets } from "./move.ts";
import { dropIndexes } from "./moved-tables.ts";
import { resumeMoves } from "./resume.ts";

const { logUrls, logs } = await startTestPostgres({ after }, { logs: 3 });
const [source, target] = logs as [pg.Pool, pg.Pool];
const addresses = logUrls.map((url, at) => ({ url, variable: `URL ${at + 1}` }));
const { signal } = new AbortController();
const [HERE, ELSEWHERE] = [1, 0];

/** Runs work with all databases locked. */
async function locked<T>(work: (locked: LockedLog[]) => Promise<T>): Promise<T> {
  const databases = await lockLogs(addresses, { waitMs: 10_000 });
  return work(databases).finally(() => closeLogs(databases));
}

/** Moves buckets from the first database to the second one. */
const move = (buckets: number[], options: Partial<MoveOptions> = {}) =>
  locked(([from, to]) =>
    moveBuckets({ from: from!, to: to!, buckets, signal, log: quiet, ...options }),
  );

const resume = () => locked((databases) => resumeMoves(databases, { signal, log: quiet }));

/** The rows of the outbox with conversations of the bucket, without their ids. */
async function outboxOf(db: pg.Pool, bucket: number) {
  const { rows } = await db.query(
    `SELECT conversation_ids, base_sequences, counts, attempts, next_attempt_at_ms, member_ids
       FROM im.outbox WHERE (conversation_ids[1] & 1023) = $1 ORDER BY conversation_ids, base_sequences`,
    [bucket],
  );
  return rows.map((row) => Object.values(row));
}

/** The ids in the outbox. */
async function outboxIds(db: pg.Pool): Promise<bigint[]> {
  const { rows } = await db.query<{ id: string }>("SELECT outbox_id AS id FROM im.outbox");
  return rows.map(({ id }) => BigInt(id));
}

const INSERT_OUTBOX = `
  INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms, attempts,
                         next_attempt_at_ms, member_ids) VALUES `;

test("a move copies every row as changed, and leaves nothing in the source", async () => {
  await fill(source, 0);
  await fill(source, 3);
  const [before, others] = [await rowsOf(source, 0), await rowsOf(source, 3)];
  await source.query("UPDATE im.bucket SET epoch = 77 WHERE bucket = 0");
  const { rows } = await target.query("SELECT pg_current_xact_id() AS id");
  await move([0]);
  assert.deepEqual(await rowsOf(target, 0, 1), before);
  assert.deepEqual(await statesOf(logs, 0), [ELSEWHERE, HERE, ELSEWHERE]);
  const changed = await target.query(
    `SELECT (SELECT count(*) FROM im.conversation WHERE changed_by > $1) AS conversations,
            (SELECT count(*) FROM im.member WHERE changed_by > $1) AS members,
            (SELECT epoch FROM im.bucket WHERE bucket = 0) AS epoch`,
    [rows[0].id],
  );
  assert.deepEqual(changed.rows, [{ conversations: "3", members: "6", epoch: "77" }]);
  assert.deepEqual(await rowsOf(source, 3), others);
  const left = await source.query("SELECT FROM im.entry WHERE (conversation_id & 1023) = 0");
  assert.equal(left.rowCount, 0);
});

test("unpublished batches and news move with their conversations", async () => {
  const [a, b] = [6, 9];
  for (const bucket of [a, b]) await fill(source, bucket);
  const [ours, theirs] = [idOf(a, 1), idOf(b, 1)];
  await source.query(
    `${INSERT_OUTBOX} (50, '{${theirs},${ours},${idOf(b, 2)}}', '{28,29,11}', '{2,1,1}', 4, 1, 9, '{}'),
                      (51, '{${idOf(a, 2)}}', '{11}', '{1}', 4, 0, 9, '{2,3}'),
                      (52, '{${ours}}', '{20}', '{4}', 4, 12, NULL, '{}')`,
  );
  await source.query(
    `INSERT INTO im.news (conversation_ids, last_sequences, member_conversation_ids, member_ids)
     VALUES ('{${ours},${theirs}}', '{29,28}', '{${idOf(a, 2)},${idOf(b, 2)}}', '{2,2}'),
            ('{${ours}}', '{30}', '{}', '{}')`,
  );
  await move([a]);
  assert.deepEqual(await outboxOf(source, b), [
    [[theirs, idOf(b, 2)], ["28", "11"], [2, 1], 1, "9", []],
  ]);
  assert.deepEqual(await outboxIds(source), [50n]);
  assert.deepEqual(await outboxOf(source, a), []);
  assert.deepEqual(await outboxOf(target, a), [
    [[ours], ["20"], [4], 12, null, []],
    [[ours], ["29"], [1], 1, "9", []],
    [[idOf(a, 2)], ["11"], [1], 0, "9", ["2", "3"]],
  ]);
  const news = await target.query(
    "SELECT conversation_ids, last_sequences, member_conversation_ids, member_ids FROM im.news ORDER BY news_id",
  );
  assert.deepEqual(
    news.rows.map((row) => Object.values(row)),
    [
      [[ours], ["30"], [], []],
      [[], [], [idOf(a, 2)], ["2"]],
    ],
  );

  // A server that confirms late must delete no other row: every part has an id that no row had before.
  const used = new Set([50n, 51n, 52n, ...(await outboxIds(target))]);
  assert.equal(used.size, 6);
  await target.query("DELETE FROM im.outbox");
  await move([b]);
  assert.deepEqual(await outboxOf(target, b), [
    [[theirs, idOf(b, 2)], ["28", "11"], [2, 1], 1, "9", []],
  ]);
  const [id] = await outboxIds(target);
  assert.ok(id! > 0n && !used.has(id!));
  assert.deepEqual(await outboxIds(source), []);
});

test("news before and behind the fence go with their conversations", async () => {
  const bucket = 75;
  await fill(source, bucket);
  await target.query("DELETE FROM im.news");
  const tell = (n: number, last: number) =>
    source.query("INSERT INTO im.news (conversation_ids, last_sequences) VALUES ($1, $2)", [
      [idOf(bucket, n)],
      [last],
    ]);
  await tell(1, 30);
  // Its news are committed behind the fence, although the transaction is older.
  const early = await source.connect();
  await early.query("BEGIN; SELECT pg_current_xact_id()");
  await move([bucket], {
    onStep: async (step) => {
      if (step === "copied") await tell(2, 11);
      if (step !== "fenced") return;
      await early.query(
        `INSERT INTO im.news (conversation_ids, last_sequences) VALUES ('{${idOf(bucket, 2)}}', '{12}')`,
      );
      await early.query("COMMIT");
      early.release();
    },
  });
  const { rows } = await target.query<{ id: string; last: string }>(
    `SELECT i.id, max(i.last) AS last
       FROM im.news n, unnest(n.conversation_ids, n.last_sequences) AS i(id, last) GROUP BY 1 ORDER BY 1`,
  );
  assert.deepEqual(rows, [
    { id: idOf(bucket, 1), last: "30" },
    { id: idOf(bucket, 2), last: "12" },
  ]);
});

/** Ways in which a move ends after a step. */
const DEATHS = {
  "its process is killed": async () => {
    throw new Error("killed");
  },
  "its connections break": async () => {
    const end = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'buckets'`;
    await source.query(end);
  },
};
const FINISHED: readonly MoveStep[] = ["switched", "cleaned"];
const STEPS: readonly MoveStep[] = ["prepared", "copied", "fenced", "switched", "cleaned"];

for (const [at, [death, die]] of Object.entries(DEATHS).entries()) {
  for (const [nr, step] of STEPS.entries()) {
    test(`a move is resumed when ${death} after it is ${step}`, async () => {
      const bucket = 12 + 3 * (at * STEPS.length + nr);
      await fill(source, bucket);
      const before = await rowsOf(source, bucket);
      const onStep = async (reached: MoveStep, of: number) => {
        if (reached === step && of === bucket) await die();
      };
      // A second bucket, so that the move uses its connections after the last step.
      const moving = move([bucket, bucket + 300], { onStep });
      await assert.rejects(moving, /killed|terminat|not queryable/);
      assert.equal(await resume(), step === "cleaned" ? 0 : 1);

      const arrived = FINISHED.includes(step);
      const [owner, other] = arrived ? [target, source] : [source, target];
      assert.deepEqual(await rowsOf(owner, bucket, Number(arrived)), before);
      assert.deepEqual(await statesOf([owner, other], bucket), [HERE, ELSEWHERE]);
      assert.deepEqual(await statesOf([source, target], bucket + 300), [HERE, ELSEWHERE]);
      const rest = await other.query("SELECT FROM im.entry WHERE (conversation_id & 1023) = $1", [
        bucket,
      ]);
      assert.equal(rest.rowCount, 0);
      assert.equal(await resume(), 0);
      if (arrived) return;
      await move([bucket]);
      assert.deepEqual(await rowsOf(target, bucket, 1), before);
    });
  }
}

test("messages, groups and cursors that were accepted during a move are in the target", async () => {
  const bucket = 57;
  await fill(source, bucket);
  const writers = [1, 2, 3, 4].map((n) => new Writer([source, target], { bucket, n }));
  const writing = writers.map((writer) => writer.run());
  const reached: MoveStep[] = [];
  const onStep = async (step: MoveStep) => {
    reached.push(step);
    // Each step takes long enough for some writes.
    const counts = writers.map(({ accepted }) => accepted.size);
    const isOpen = step !== "fenced";
    while (isOpen && writers.some(({ accepted }, at) => accepted.size < counts[at]! + 3))
      await source.query("SELECT");
  };
  await move([bucket], { onStep }).finally(() => {
    for (const writer of writers) writer.stop();
  });
  await Promise.all(writing);
  assert.deepEqual(reached, STEPS);
  for (const writer of writers) await writer.check(target);
  const { rows } = await target.query(
    `SELECT c.conversation_id FROM im.conversation c
      WHERE (conversation_id & 1023) = $1 AND c.last_sequence <> (
        SELECT count(*) FROM im.entry e WHERE e.conversation_id = c.conversation_id)`,
    [bucket],
  );
  assert.deepEqual(rows, []);
  const rest = await source.query(
    `SELECT conversation_id FROM im.conversation WHERE (conversation_id & 1023) = $1
      UNION ALL SELECT conversation_id FROM im.entry WHERE (conversation_id & 1023) = $1
      UNION ALL SELECT conversation_id FROM im.member WHERE (conversation_id & 1023) = $1`,
    [bucket],
  );
  assert.deepEqual(rest.rows, []);
});

test("an aborted copy is rolled back, and an aborted clean-up is completed", async () => {
  for (const [bucket, last, owner] of [
    [60, "switched", target],
    [63, "prepared", source],
  ] as const) {
    await fill(source, bucket);
    const before = await rowsOf(source, bucket);
    const abort = new AbortController();
    const onStep = (step: MoveStep) => {
      if (step === last) abort.abort(new Error("interrupted"));
    };
    await assert.rejects(move([bucket], { signal: abort.signal, onStep }), /interrupted/);
    assert.equal(await resume(), 1);
    assert.deepEqual(await rowsOf(owner, bucket, Number(owner === target)), before);
  }
});

test("a move that finds fewer rows in the source than it copied is rolled back", async () => {
  await fill(source, 66);
  const before = await rowsOf(source, 66);
  const onStep = async (step: MoveStep) => {
    if (step === "fenced")
      await source.query(
        "UPDATE im.conversation SET member_version = 1 WHERE conversation_id = $1",
        [idOf(66, 1)],
      );
  };
  await assert.rejects(
    move([66], { onStep }),
    /3 rows of im.conversation were copied, but .* has 2/,
  );
  await resume();
  assert.deepEqual(await rowsOf(source, 66), before);
  assert.deepEqual(await statesOf(logs, 66), [HERE, ELSEWHERE, ELSEWHERE]);
});

test("a move is refused when it would separate conversations of an earlier version from their keys", async () => {
  await fill(source, 69);
  const mismatched = /^1 conversations of an earlier version .* cannot be moved/;
  await source.query(
    "UPDATE im.direct SET high_user_id = high_user_id + 1 WHERE conversation_id = $1",
    [idOf(69, 1)],
  );
  const message = (error: Error) => mismatched.test(error.message);
  await assert.rejects(move([69]), message);
  const { rows } = await source.query(
    `SELECT low_user_id, high_user_id FROM im.direct WHERE conversation_id = $1`,
    [idOf(69, 1)],
  );
  // The bucket of the pair is refused as well: a move would leave the conversation behind.
  const bucket = bucketOfPair(rows[0].low_user_id, rows[0].high_user_id);
  const states = await statesOf(logs, bucket);
  await source.query("UPDATE im.bucket SET state = 1 WHERE bucket = $1", [bucket]);
  await assert.rejects(move([bucket]), message);
  await source.query("UPDATE im.bucket SET state = $2 WHERE bucket = $1", [bucket, states[0]]);
  await source.query("DELETE FROM im.direct WHERE conversation_id = $1", [idOf(69, 1)]);
  await source.query("UPDATE im.group_key SET client_group_id = 'x' WHERE conversation_id = $1", [
    idOf(69, 2),
  ]);
  await assert.rejects(move([69]), message);
  assert.deepEqual(await statesOf(logs, 69), [HERE, ELSEWHERE, ELSEWHERE]);
});

test("resume changes nothing while a bucket is in two databases or in none", async () => {
  await fill(target, 72);
  await target.query("UPDATE im.bucket SET state = 1 WHERE bucket = 72");
  await assert.rejects(resume(), /Bucket 72 is in several databases: 1, 2\./);
  // The operator decides for the second database.
  await source.query("UPDATE im.bucket SET state = 2 WHERE bucket = 72");
  assert.equal(await resume(), 1);
  assert.deepEqual(await statesOf(logs, 72), [ELSEWHERE, HERE, ELSEWHERE]);
  await target.query("UPDATE im.bucket SET state = 0 WHERE bucket = 72");
  await assert.rejects(resume(), /Bucket 72 is in no database\./);
  await target.query("UPDATE im.bucket SET state = 1 WHERE bucket = 72");
});

test("wrong databases and buckets are refused with an error for operators", async () => {
  const [first] = addresses;
  await assert.rejects(lockLogs([first!, first!]), /names one database twice: URL 1 and URL 2/);
  const away = { url: "postgresql://lucky@127.0.0.1:1/lucky", variable: "URL 2" };
  await assert.rejects(
    lockLogs([first!, away]),
    /^Error: PostgreSQL \(URL 2\) cannot be reached: /,
  );
  await source.query("CREATE ROLE stranger LOGIN PASSWORD 'x'");
  const stranger = new URL(logUrls[0]!);
  [stranger.username, stranger.password] = ["stranger", "x"];
  await assert.rejects(
    lockLogs([{ url: stranger.href, variable: "URL 1" }]),
    /"stranger" does not own Lucky's tables/,
  );
  await locked(async ([from, to]) => {
    const same = { from: from!, to: from!, buckets: [3], signal, log: quiet };
    await assert.rejects(moveBuckets(same), /Database 1 is both the source and the target/);
    const foreign = { from: from!, to: to!, buckets: [3, 4], signal, log: quiet };
    await assert.rejects(moveBuckets(foreign), /Bucket 4 is not in database 1/);
    await assert.rejects(
      lockLogs(addresses, { waitMs: 0 }),
      /Another process is moving buckets: it has locked database 1/,
    );
  });
  await source.query("CREATE TABLE im.later (user_id bigint)");
  await assert.rejects(move([3]), /The table im\.later has no conversation_id/);
  await source.query("DROP TABLE im.later");
});

test("the indexes of moves are dropped", async () => {
  const indexes = "SELECT FROM pg_indexes WHERE schemaname = 'im' AND indexname LIKE '%moving'";
  assert.equal((await source.query(indexes)).rowCount, 3);
  await locked(([from]) => dropIndexes(from!.client));
  assert.equal((await source.query(indexes)).rowCount, 0);
  assert.deepEqual(await statesOf(logs, 3), [HERE, ELSEWHERE, ELSEWHERE]);
});
