import assert from "node:assert/strict";
import { after, test } from "node:test";
import { insertDirects } from "../../services/server/conversations/directs.ts";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { closeLogs, lockLogs } from "./locked-logs.ts";
import { fill, idOf, pairIn, rowsOf, statesOf } from "./move.fixture.ts";
import { type MoveOptions, moveBuckets } from "./move.ts";
import { resumeMoves } from "./resume.ts";

const { logUrls, logs } = await startTestPostgres({ after }, { logs: 2 });
const [source, target] = logs as [(typeof logs)[0], (typeof logs)[0]];
const addresses = logUrls.map((url) => ({ url }));
const { signal } = new AbortController();
const [HERE, ELSEWHERE] = [1, 0];

/** Moves buckets from the first database to the second one. */
async function move(buckets: number[], options: Partial<MoveOptions> = {}): Promise<void> {
  const [from, to] = await lockLogs(addresses, { waitMs: 10_000 });
  const all = { from: from!, to: to!, buckets, signal, log: quiet, ...options };
  await moveBuckets(all).finally(() => closeLogs([from!, to!]));
}

async function resume(): Promise<number> {
  const locked = await lockLogs(addresses, { waitMs: 10_000 });
  return resumeMoves(locked, { signal, log: quiet }).finally(() => closeLogs(locked));
}

/** Waits until a session waits for a lock on the table in the source, or the condition holds. */
async function untilWaiting(table: string, mode: string, isOver = () => false): Promise<void> {
  for (;;) {
    const { rowCount } = await source.query(
      "SELECT FROM pg_locks WHERE relation = $1::regclass AND mode = $2 AND NOT granted",
      [table, mode],
    );
    if (rowCount! > 0 || isOver()) return;
  }
}

test("a first message and the fence do not deadlock", async () => {
  await fill(source, 78);
  const server = await source.connect();
  const insert = (bucket: number) => {
    const { low, high } = pairIn(bucket);
    const values = [[low], [high], [idOf(bucket, 7)], 0];
    return server.query({ name: insertDirects.name, text: insertDirects.text, values });
  };
  const writer = await source.connect();
  let isOver = false;
  let inserting: Promise<unknown> | undefined;
  const moving = move([78], {
    onStep: async (step) => {
      if (step !== "copied") return;
      // A cached plan locks the tables in another order than the run that makes it.
      await insert(80);
      await writer.query("BEGIN; UPDATE im.conversation SET name = name WHERE conversation_id = 1");
      inserting = untilWaiting("im.conversation", "ExclusiveLock")
        .then(() => insert(84))
        .finally(() => {
          isOver = true;
        });
    },
  });
  await untilWaiting("im.conversation", "ExclusiveLock");
  await untilWaiting("im.conversation", "RowExclusiveLock", () => isOver);
  await writer.query("COMMIT");
  writer.release();
  await Promise.all([inserting, moving]).finally(() => server.release());
  assert.deepEqual(await statesOf(logs, 78), [ELSEWHERE, HERE]);
});

test("the fence lets writers pass while a vacuum holds its lock", async () => {
  await fill(source, 86);
  const vacuum = await source.connect();
  const moving = move([86], {
    onStep: async (step) => {
      if (step === "copied")
        await vacuum.query("BEGIN; LOCK TABLE im.member IN SHARE UPDATE EXCLUSIVE MODE");
    },
  });
  await untilWaiting("im.member", "ExclusiveLock");
  const writer = await source.connect();
  await writer.query("SET lock_timeout = 1000");
  await writer.query("UPDATE im.conversation SET name = name WHERE conversation_id = 1");
  writer.release(true);
  await vacuum.query("ROLLBACK");
  vacuum.release();
  await moving;
  assert.deepEqual(await statesOf(logs, 86), [ELSEWHERE, HERE]);
});

test("the source has its bucket again when the target vanishes during the switch", async () => {
  const bucket = 90;
  await fill(source, bucket);
  // More than a connection has in its buffers.
  await source.query(
    `INSERT INTO im.member (conversation_id, user_id, kind)
     SELECT $1, u, 2 FROM generate_series(10, 20000) u`,
    [idOf(bucket, 2)],
  );
  const before = await rowsOf(source, bucket);
  const vanished = await target.connect();
  const moving = move([bucket], {
    silenceTimeoutMs: 500,
    onStep: async (step) => {
      // It answers no statement on members from now on.
      if (step === "fenced") await vanished.query("BEGIN; LOCK TABLE im.member");
    },
  });
  await assert.rejects(moving, /Database 2 did not answer in 500 ms/);
  assert.deepEqual(await rowsOf(source, bucket), before);
  assert.deepEqual(await statesOf([source], bucket), [HERE]);
  await vanished.query("ROLLBACK");
  vanished.release();
  assert.equal(await resume(), 1);
  assert.deepEqual(await statesOf(logs, bucket), [HERE, ELSEWHERE]);
});
