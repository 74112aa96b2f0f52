import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { startEmbedded } from "./embedded.ts";
import { migrate } from "./migrate.ts";
import { createPool, transaction } from "./pool.ts";

const { pool, url } = await startTestPostgres({ after });

test("a bigint is read as a decimal string, alone and in an array", async () => {
  const { rows } = await pool.query(
    "SELECT 9007199254740993 AS id, ARRAY[9007199254740993] AS ids",
  );
  assert.deepEqual(rows, [{ id: "9007199254740993", ids: ["9007199254740993"] }]);
});

test("times are read in UTC, whatever the zone of the database", async (t) => {
  await pool.query("ALTER DATABASE lucky SET timezone = 'Asia/Shanghai'");
  t.after(() => pool.query("ALTER DATABASE lucky RESET timezone"));
  const fresh = createPool({ url, max: 1, log: quiet, name: "zone" });
  t.after(() => fresh.end());
  const { rows } = await fresh.query("SELECT to_timestamp(0)::text AS text");
  assert.deepEqual(rows, [{ text: "1970-01-01 00:00:00+00" }]);
});

test("a statement is cancelled after its time-out", async (t) => {
  const session = { statement_timeout: "50ms" };
  const options = { url, max: 1, log: quiet, name: "slow", session };
  const limited = createPool(options);
  t.after(() => limited.end());
  await assert.rejects(limited.query("SELECT pg_sleep(30)"), /statement timeout/);
  assert.equal((await limited.query("SELECT 1 AS one")).rows[0].one, 1);
});

test("the end of a pool does not wait for a statement without an answer", async () => {
  const ending = createPool({ url, max: 1, log: quiet, name: "ending" });
  const client = await ending.connect();
  const cut = assert.rejects(client.query("SELECT pg_sleep(14)"), /Connection terminated/);
  await ending.end();
  await cut;
  client.release(true);
});

test("a failed transaction is rolled back, and its connection stays usable", async (t) => {
  const single = createPool({ url, max: 1, log: quiet, name: "single" });
  t.after(() => single.end());
  await single.query("CREATE TABLE public.thing (name text)");
  const failing = transaction(single, async (client) => {
    await client.query("INSERT INTO public.thing VALUES ('lost')");
    throw new Error("no");
  });
  await assert.rejects(failing, /^Error: no$/);
  await transaction(single, (client) => client.query("INSERT INTO public.thing VALUES ('kept')"));
  const { rows } = await single.query("SELECT name FROM public.thing");
  assert.deepEqual(rows, [{ name: "kept" }]);
});

test("broken connections, idle and in use, are replaced", async (t) => {
  const hardy = createPool({ url, max: 3, log: quiet, name: "hardy" });
  t.after(() => hardy.end());
  const { promise: bothGone, resolve } = Promise.withResolvers<void>();
  hardy.on("remove", () => hardy.totalCount === 0 && resolve());
  await Promise.all([hardy.query("SELECT 1"), hardy.query("SELECT 1")]);
  assert.equal(hardy.idleCount, 2);
  const busy = transaction(hardy, async (client) => {
    await client.query("SELECT 1");
    await pool.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hardy'",
    );
    await client.query("SELECT 1");
  });
  await assert.rejects(busy);
  await bothGone;
  assert.equal((await hardy.query("SELECT 1 AS one")).rows[0].one, 1);
});

test("processes that migrate at the same time all succeed, and a repeated migration changes nothing", async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), "lucky-migrate-"));
  const empty = await startEmbedded({ dataDir, log: quiet, settings: { fsync: "off" } });
  t.after(async () => {
    await empty.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  await Promise.all(Array.from({ length: 6 }, () => migrate({ url: empty.url, log: quiet })));
  await migrate({ url: empty.url, log: quiet });
  const reader = createPool({ url: empty.url, max: 1, log: quiet, name: "reader" });
  const { rows } = await reader.query("SELECT name FROM lucky.migration ORDER BY id");
  await reader.end();
  assert.deepEqual(rows.map(({ name }) => name).slice(0, 3), [
    "0001_lucky",
    "0002_auth",
    "0003_im",
  ]);
  assert.equal(new Set(rows.map(({ name }) => name)).size, rows.length);
});
