import assert from "node:assert/strict";
import { after, test } from "node:test";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createPool } from "./pool.ts";
import { watchPool } from "./pool-state.ts";

const { pool: owner, url } = await startTestPostgres({ after });

test("the wait for a connection counts while others wait, whether it is short or has not ended", async (t) => {
  const clock = new ManualClock();
  const pool = createPool({ url, max: 1, log: quiet, name: "busy" });
  t.after(() => pool.end());
  const state = watchPool(pool, clock);
  const first = await pool.connect();
  assert.equal(state.waitMs, 0);
  const [second, third] = [pool.connect(), pool.query("SELECT 1")];
  clock.advance(300);
  assert.equal(state.waitMs, 300);
  first.release();
  const held = await second;
  assert.equal(state.waitMs, 300, "the third user waits at least as long as the second did");
  clock.advance(400);
  assert.equal(state.waitMs, 400);
  held.release();
  await third;
  assert.equal(state.waitMs, 0);
});

test("a database is unreachable from a failed connection until the next use of a connection", async (t) => {
  await owner.query("CREATE ROLE pool_state LOGIN PASSWORD 'secret'");
  const as = new URL(url);
  [as.username, as.password] = ["pool_state", "secret"];
  const pool = createPool({ url: as.href, max: 1, log: quiet, name: "away" });
  t.after(() => pool.end());
  const state = watchPool(pool, new ManualClock());
  assert.equal(state.unreachable, false);
  await owner.query("ALTER ROLE pool_state NOLOGIN");
  await assert.rejects(pool.query("SELECT 1"), /not permitted to log in/);
  assert.equal(state.unreachable, true);
  await assert.rejects(pool.connect(), /not permitted to log in/);
  await owner.query("ALTER ROLE pool_state LOGIN");
  await assert.rejects(pool.query("SELECT 1 / 0"), /division by zero/);
  await pool.query("SELECT 1");
  assert.equal(state.unreachable, false);
});
