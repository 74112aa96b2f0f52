import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createPool, type Pool } from "./pool.ts";
import { leaseWorker } from "./workers.ts";

const { pool, url } = await startTestPostgres({ after });

const unavailable = (error: unknown) => reasonOf(error) === ErrorReason.UNAVAILABLE;

function lease(options: { clock?: Clock; pool?: Pool } = {}) {
  const { promise: lost, resolve } = Promise.withResolvers<void>();
  const clock = options.clock ?? new ManualClock();
  const dependencies = { clock, holder: "server-0", log: quiet, lost: resolve };
  return leaseWorker({ pool: options.pool ?? pool, ...dependencies }).then((held) => ({
    held,
    lost,
  }));
}

test("holders that lease at the same time get different numbers", async () => {
  const leases = await Promise.all(Array.from({ length: 40 }, () => lease()));
  const numbers = leases.map(({ held }) => held.number);
  assert.equal(new Set(numbers).size, 40);
  assert.ok(numbers.every((number) => number >= 0 && number <= 1023));
  await Promise.all(leases.map(({ held }) => held.release()));
});

test("a released number is leased again only after a pause, the longest unused first", async () => {
  await pool.query("DELETE FROM lucky.worker");
  await pool.query(`INSERT INTO lucky.worker
    SELECT n, 'other', now() + interval '1 minute' FROM generate_series(2, 1023) n`);
  const { held: first } = await lease();
  const { held: second } = await lease();
  assert.deepEqual([first.number, second.number].toSorted(), [0, 1]);
  const number = first.number;
  await first.release();
  await assert.rejects(lease(), unavailable);
  await pool.query(
    "UPDATE lucky.worker SET expires_at = now() - interval '11 s' WHERE number = $1",
    [number],
  );
  const { held: next } = await lease();
  assert.equal(next.number, number);
  await Promise.all([second.release(), next.release()]);
  await pool.query("DELETE FROM lucky.worker");
});

test("a held lease is renewed", async () => {
  const clock = new ManualClock();
  const { held } = await lease({ clock });
  const number = held.number;
  const expiry = async () => {
    // As text: two renewals may fall into one millisecond, the precision of a Date.
    const sql = "SELECT expires_at::text FROM lucky.worker WHERE number = $1";
    return (await pool.query<{ expires_at: string }>(sql, [number])).rows[0]!.expires_at;
  };
  for (let turn = 0; turn < 10; turn += 1) {
    const before = await expiry();
    clock.advance(5_000);
    while ((await expiry()) === before);
  }
  assert.equal(held.number, number);
  await held.release();
});

test("when another process has taken the lease, lost is called and the number throws", async () => {
  const clock = new ManualClock();
  const { held, lost } = await lease({ clock });
  await pool.query("UPDATE lucky.worker SET holder = 'thief' WHERE number = $1", [held.number]);
  clock.advance(5_000);
  await lost;
  assert.throws(() => held.number, unavailable);
});

test("lost is called before a lease that cannot be renewed expires in PostgreSQL", async () => {
  const clock = new ManualClock();
  const own = createPool({ url, max: 1, log: quiet, name: "cut-off" });
  const { held, lost } = await lease({ clock, pool: own });
  await own.end();
  clock.advance(20_000);
  assert.equal(typeof held.number, "number");
  clock.advance(5_000);
  await lost;
  assert.throws(() => held.number, unavailable);
});

test("after a process slept through its lease, the number throws, even before lost is called", async () => {
  const clock = new ManualClock();
  let sleptMs = 0;
  const asleep: Clock = {
    now: () => clock.now() + sleptMs,
    elapsed: () => clock.elapsed(),
    after: (delayMs, ring) => clock.after(delayMs, ring),
    every: (intervalMs, ring) => clock.every(intervalMs, ring),
  };
  const { held } = await lease({ clock: asleep });
  sleptMs = 25_000;
  assert.throws(() => held.number, unavailable);
  await held.release();
});
