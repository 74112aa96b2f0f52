import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { detailOf } from "#platform/errors.ts";
import { createIds, ID_END_MS, ID_EPOCH_MS } from "#platform/ids.ts";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createPool, type Pool } from "./pool.ts";
import { holdWorker } from "./worker.ts";
import { leaseWorker } from "./workers.ts";

const { pool, url } = await startTestPostgres({ after });

const unavailable = (error: unknown) => {
  const detail = detailOf(error);
  return detail?.reason === ErrorReason.UNAVAILABLE && detail.retryAfterMs > 0n;
};

function lease(options: { clock?: Clock; pool?: Pool; usedMs?: () => number } = {}) {
  const { promise: lost, resolve } = Promise.withResolvers<void>();
  const { clock = new ManualClock(), usedMs = () => 0 } = options;
  const dependencies = { clock, usedMs, holder: "server-0", log: quiet, lost: resolve };
  return leaseWorker({ pool: options.pool ?? pool, ...dependencies }).then((held) => ({
    held,
    lost,
  }));
}

test("holders that lease at the same time get different numbers", async () => {
  const leases = await Promise.all(Array.from({ length: 40 }, () => lease()));
  const numbers = leases.map(({ held }) => held.window.worker);
  assert.equal(new Set(numbers).size, 40);
  assert.ok(numbers.every((number) => number >= 0 && number <= 1023));
  await Promise.all(leases.map(({ held }) => held.release()));
});

test("a released number is leased again only after a pause, the longest unused first", async () => {
  await pool.query("DELETE FROM lucky.worker");
  await pool.query(`INSERT INTO lucky.worker
    SELECT n, 'other', now() + interval '30 s' FROM generate_series(2, 1023) n`);
  const { held: first } = await lease();
  const { held: second } = await lease();
  assert.deepEqual([first.window.worker, second.window.worker].toSorted(), [0, 1]);
  const number = first.window.worker;
  await first.release();
  await assert.rejects(lease(), unavailable);
  await pool.query(
    "UPDATE lucky.worker SET expires_at = now() - interval '11 s' WHERE number = $1",
    [number],
  );
  const { held: next } = await lease();
  assert.equal(next.window.worker, number);
  await Promise.all([second.release(), next.release()]);
  await pool.query("DELETE FROM lucky.worker");
});

test("a held lease is renewed", async () => {
  const clock = new ManualClock();
  const { held } = await lease({ clock });
  const number = held.window.worker;
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
  assert.equal(held.window.worker, number);
  await held.release();
});

test("when another process has taken the lease, lost is called and the number throws", async () => {
  const clock = new ManualClock();
  const { held, lost } = await lease({ clock });
  await pool.query("UPDATE lucky.worker SET holder = 'thief' WHERE number = $1", [
    held.window.worker,
  ]);
  clock.advance(5_000);
  await lost;
  assert.throws(() => held.window, unavailable);
});

test("lost is called before a lease that cannot be renewed expires in PostgreSQL", async () => {
  const clock = new ManualClock();
  const own = createPool({ url, max: 1, log: quiet, name: "cut-off" });
  const { held, lost } = await lease({ clock, pool: own });
  await own.end();
  clock.advance(20_000);
  assert.equal(typeof held.window.worker, "number");
  clock.advance(5_000);
  await lost;
  assert.throws(() => held.window, unavailable);
});

/** Leaves only number 0 to lease, as its last holder left it. */
async function leaveNumber0(columns: string): Promise<void> {
  await pool.query("DELETE FROM lucky.worker");
  await pool.query(`INSERT INTO lucky.worker
    SELECT n, 'other', now() + interval '30 s', 0 FROM generate_series(0, 1023) n`);
  await pool.query(`UPDATE lucky.worker SET ${columns} WHERE number = 0`);
}

/** Lets the lease of number 0 expire long ago. */
const EXPIRED = "expires_at = now() - interval '1 h'";

test("a step of the time of day loses no lease, and ids go on in times that were reserved", async () => {
  await leaveNumber0(EXPIRED);
  for (const stepMs of [3_600_000, -3_600_000]) {
    const clock = new ManualClock();
    const worker = await holdWorker({ pool, clock, holder: "server-0", log: quiet });
    const ids = createIds({ window: worker.window, clock });
    const all = ids.take(5_000);
    const { worker: number, untilMs } = worker.window(0);
    clock.step(stepMs);
    all.push(...ids.take(5_000));
    clock.advance(5_000);
    while (worker.window(timeOf(all.at(-1)!)).untilMs === untilMs) await new Promise(setImmediate);
    all.push(...ids.take(5_000));
    assert.equal(worker.window(0).worker, number);
    assert.equal(new Set(all).size, all.length);
    assert.ok(timeOf(all.at(-1)!) < worker.window(0).untilMs);
    await worker.release();
    await pool.query(`UPDATE lucky.worker SET ${EXPIRED} WHERE number = 0`);
  }
});

test("a release succeeds while PostgreSQL is unreachable: the lease expires", async () => {
  const own = createPool({ url, max: 1, log: quiet, name: "cut-off" });
  const { held } = await lease({ pool: own });
  await own.end();
  await held.release();
  assert.throws(() => held.window, unavailable);
});

test("a holder that is asleep and its successor never reserve the same times", async () => {
  await leaveNumber0(EXPIRED);
  const clock = new ManualClock();
  const { held: asleep, lost } = await lease({ clock });
  // The time of day goes on while it sleeps, and no time elapses.
  clock.step(600_000);
  await pool.query(`UPDATE lucky.worker SET ${EXPIRED} WHERE number = 0`);
  const { held: successor } = await lease({ clock: new ManualClock(clock.now()) });
  assert.equal(successor.window.worker, 0);
  assert.ok(asleep.window.untilMs <= successor.window.fromMs);
  clock.advance(5_000);
  await lost;
  assert.throws(() => asleep.window, unavailable);
  await successor.release();
});

test("a restarted process with a slow clock continues after the times of its predecessor", async () => {
  const clock = new ManualClock();
  const reservedUntilMs = clock.now() + 3_600_000;
  await leaveNumber0(`${EXPIRED}, reserved_until_ms = ${reservedUntilMs}`);
  const { held } = await lease({ clock });
  assert.equal(held.window.fromMs, reservedUntilMs);
  await held.release();
});

test("a lease reserves times after those that ids of the process used already", async () => {
  await leaveNumber0(EXPIRED);
  const clock = new ManualClock();
  let usedMs = clock.now() + 3_600_000;
  const { held } = await lease({ clock, usedMs: () => usedMs });
  assert.equal(held.window.fromMs, usedMs + 1);
  usedMs = held.window.untilMs - 1;
  clock.advance(5_000);
  while (held.window.untilMs - 1 === usedMs) await new Promise(setImmediate);
  assert.equal(held.window.untilMs, usedMs + 1 + 30_000);
  await held.release();
});

test("when PostgreSQL's clock steps, leases are renewed, and numbers do not stay held", async () => {
  await leaveNumber0("expires_at = now() + interval '1 h'");
  const clock = new ManualClock();
  const { held } = await lease({ clock });
  const { untilMs } = held.window;
  await pool.query(`UPDATE lucky.worker SET ${EXPIRED} WHERE number = 0`);
  clock.advance(5_000);
  while (held.window.untilMs === untilMs) await new Promise(setImmediate);
  await held.release();
});

test("a time of day that no id can contain does not use up a number", async () => {
  for (const nowMs of [0, ID_END_MS + 1]) {
    await leaveNumber0(EXPIRED);
    const { held } = await lease({ clock: new ManualClock(nowMs) });
    assert.equal(held.window.fromMs, ID_EPOCH_MS);
    await held.release();
  }
  await leaveNumber0(`${EXPIRED}, reserved_until_ms = ${ID_END_MS}`);
  await assert.rejects(lease(), unavailable);
});

const timeOf = (id: bigint) => Number(id >> 22n) + ID_EPOCH_MS;
