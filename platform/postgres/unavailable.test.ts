import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { after, type TestContext, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf } from "#platform/errors.ts";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { createPool, type Pool, type PoolOptions, transaction } from "./pool.ts";
import { databaseUnavailable } from "./unavailable.ts";

const { pool, url } = await startTestPostgres({ after });
await pool.query(`
  CREATE TABLE public.thing (id int PRIMARY KEY, text text);
  INSERT INTO public.thing VALUES (1, 'one'), (2, 'two')`);

function open(t: TestContext, options: Partial<PoolOptions> = {}): Pool {
  const one = createPool({ url, max: 2, log: quiet, name: "faulty", ...options });
  t.after(() => one.end());
  return one;
}

/** Asserts that the work fails with an error for which callers are told to wait. */
async function assertWait(work: Promise<unknown>, text: RegExp, code?: string): Promise<void> {
  const error = await work.then(
    () => assert.fail("it succeeded"),
    (thrown: unknown) => thrown as { code?: string },
  );
  if (code !== undefined) assert.equal(error.code, code);
  const detail = detailOf(databaseUnavailable(error));
  assert.equal(ErrorReason[detail?.reason ?? 0], "UNAVAILABLE", String(error));
  assert.ok(detail!.retryAfterMs > 0n);
  assert.match(databaseUnavailable(error)!.rawMessage, text);
}

const WAITING = `SELECT FROM pg_stat_activity
  WHERE application_name = 'faulty' AND wait_event_type = 'Lock'`;
const REACH = /cannot be reached/;
const STORE = /cannot store anything/;
const SLOW = /did not answer in time/;
const COLLISION = /collided with another/;

test("each SQLSTATE of a fault that passes is UNAVAILABLE; faults of the caller or the code are not", async () => {
  const raise = (state: string) =>
    pool.query(`DO $$ BEGIN RAISE EXCEPTION 'a fault' USING ERRCODE = '${state}'; END $$`);
  const passing = {
    "08000 08003 08006 08P01 53000 53300 57P01 57P02 57P03 57P04 57P05": REACH,
    "25P03 28000 28P01 3D000 55000 26000 42P05 0A000": REACH,
    "25006 53100 53200 53400 58000 58030": STORE,
    "57014 55P03 25P04": SLOW,
    "40001 40P01 40003": COLLISION,
  };
  for (const [states, text] of Object.entries(passing))
    for (const state of states.split(" ")) await assertWait(raise(state), text, state);
  for (const state of ["22P02", "23505", "42501", "42601", "42P01", "XX000", "XX001", "P0001"]) {
    const error = await raise(state).catch((thrown: unknown) => thrown);
    assert.equal(databaseUnavailable(error), undefined, state);
  }
});

test("a session that PostgreSQL ends fails its statement or transaction, and is replaced", async (t) => {
  const faulty = open(t);
  const ended = transaction(faulty, async (client) => {
    await client.query("SET LOCAL idle_in_transaction_session_timeout = '10ms'");
    await once(client, "end");
    await client.query("INSERT INTO public.thing VALUES (3, 'lost')");
  });
  await assertWait(ended, REACH);
  const terminated = faulty.query("SELECT pg_terminate_backend(pg_backend_pid())");
  await assertWait(terminated, REACH, "57P01");
  const { rows } = await faulty.query("SELECT count(*)::int AS things FROM public.thing");
  assert.deepEqual(rows, [{ things: 2 }]);
});

test("a transaction beyond its time-out, or a lock that is not free in time, was too slow", async (t) => {
  const faulty = open(t, { session: { transaction_timeout: "40ms", lock_timeout: "10ms" } });
  const held = await pool.connect();
  t.after(() => held.release());
  await held.query("BEGIN; LOCK TABLE public.thing");
  await assertWait(faulty.query("SELECT 1 FROM public.thing"), SLOW, "55P03");
  await held.query("ROLLBACK");
  await assertWait(faulty.query("SELECT pg_sleep(30)"), SLOW, "25P04");
  assert.equal((await faulty.query("SELECT 1 AS one")).rows[0].one, 1);
});

test("a deadlock and a serialization failure are collisions, of which one side succeeds", async (t) => {
  const faulty = open(t);
  for (const [level, code] of [
    ["READ COMMITTED", "40P01"],
    ["REPEATABLE READ", "40001"],
  ] as const) {
    const [first, second] = [await faulty.connect(), await faulty.connect()];
    const change = (id: number) => `UPDATE public.thing SET text = '${code}' WHERE id = ${id}`;
    for (const client of [first, second])
      await client.query(
        `BEGIN ISOLATION LEVEL ${level}; SET LOCAL deadlock_timeout = '10ms'; SELECT 1 FROM public.thing`,
      );
    await first.query(change(1));
    if (code === "40P01") await second.query(change(2));
    const sides = [
      code === "40P01" ? first.query(change(2)) : first.query("COMMIT"),
      second.query(change(1)),
    ];
    const failed = (await Promise.allSettled(sides)).filter(({ status }) => status === "rejected");
    assert.equal(failed.length, 1);
    const [{ reason }] = failed as [PromiseRejectedResult];
    await assertWait(Promise.reject(reason), COLLISION, code);
    for (const client of [first, second]) {
      await client.query("ROLLBACK");
      client.release();
    }
  }
  assert.equal(faulty.totalCount, 2, "their connections stay");
});

test("full temporary space is a fault of the store", async (t) => {
  const faulty = open(t, { session: { work_mem: "64kB" } });
  await pool
    .query("ALTER SYSTEM SET temp_file_limit = '64kB'; ")
    .then(() => pool.query("SELECT pg_reload_conf()"));
  t.after(async () => {
    await pool.query("ALTER SYSTEM RESET temp_file_limit");
    await pool.query("SELECT pg_reload_conf()");
  });
  const sort = () =>
    faulty.query(
      "SELECT count(*) FROM (SELECT md5(n::text) FROM generate_series(1, 50000) n ORDER BY 1 OFFSET 1) s",
    );
  await assertWait(sort(), STORE, "53400");
});

test("a connection without an answer is closed after 20 s, and the next one works", async (t) => {
  const faulty = open(t, { max: 1 });
  let socket: Socket | undefined;
  faulty.on("connect", ({ connection }) => {
    socket = connection.stream as Socket;
  });
  const held = await pool.connect();
  t.after(() => held.release());
  for (const work of [
    () => faulty.query("SELECT 1 FROM public.thing"),
    () => transaction(faulty, (client) => client.query("SELECT 1 FROM public.thing")),
  ]) {
    await held.query("BEGIN; LOCK TABLE public.thing");
    const failed = assertWait(work(), REACH, "ETIMEDOUT");
    while ((await pool.query(WAITING)).rowCount === 0);
    assert.equal(socket?.timeout, 20_000);
    socket.emit("timeout");
    await failed;
    await held.query("ROLLBACK");
    assert.equal((await faulty.query("SELECT 1 AS one")).rows[0].one, 1);
  }
});

test("a plan that a migration made stale fails once, on each connection", async (t) => {
  const faulty = open(t, { max: 1 });
  const all = { name: "all_things", text: "SELECT * FROM public.thing WHERE id = 1" };
  await faulty.query(all);
  await pool.query("ALTER TABLE public.thing ADD COLUMN more int");
  await assertWait(faulty.query(all), REACH, "0A000");
  assert.equal((await faulty.query(all)).rowCount, 1);
});

test("a pool that has ended is unavailable", async () => {
  const gone = createPool({ url, max: 1, log: quiet, name: "gone" });
  await gone.end();
  await assertWait(gone.query("SELECT 1"), REACH);
});
