import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { createPool, openPool, type PoolOptions } from "#platform/postgres/pool.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";
import { createDatabasePasswords, prepareDatabase } from "../scripts/mesh-database.ts";
import { startAll } from "../services/all.ts";
import { PLANNER_SETTINGS } from "../services/server/log/database.ts";
import { startPgbouncer } from "./backends/backends.ts";
import { quiet, startTestPostgres } from "./backends/postgres.ts";
import { people } from "./world/people.ts";

const TIMEOUT = 120_000;
const { url, pool } = await startTestPostgres({ after });
const direct = await prepareDatabase(url, createDatabasePasswords());
const urls = [url, ...Object.values(direct)];
const bouncer = await startPgbouncer(urls, {
  default_pool_size: "3",
  server_login_retry: "1",
});
after(() => bouncer.close());

/** The URL of the same database and user, through PgBouncer. */
function pooled(through: string, { port } = bouncer): string {
  const address = new URL(through);
  address.port = String(port);
  return address.href;
}

const serverUrl = pooled(direct.LUCKY_SERVER_POSTGRES_URL!);
const open = (options: Partial<PoolOptions>) =>
  openPool({
    url: serverUrl,
    variable: "LUCKY_SERVER_POSTGRES_URL",
    max: 4,
    session: PLANNER_SETTINGS,
    log: quiet,
    name: "pooled",
    ...options,
  });

test("through PgBouncer in transaction mode everything works, and broken connections lose and double nothing", {
  timeout: TIMEOUT,
}, async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), "lucky-pooler-"));
  t.after(() => rm(dataDir, { recursive: true, force: true }));
  const all = await startAll({
    env: {
      LUCKY_LOG_LEVEL: "silent",
      LUCKY_DATA_DIR: dataDir,
      LUCKY_GATEWAY_PORT: "0",
      LUCKY_CONNECT_PORT: "0",
      LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
      LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
      LUCKY_AUTH_HASH_ITERATIONS: "1",
      LUCKY_AUTH_POSTGRES_URL: pooled(direct.LUCKY_AUTH_POSTGRES_URL!),
      LUCKY_SERVER_POSTGRES_URL: serverUrl,
      LUCKY_POSTGRES_POOLER: "unprepared",
    },
  });
  t.after(() => all.stop());
  const [ana, ben] = await people(all, "ana", "ben");
  const [a, b] = [await ana!.clientDevice(), await ben!.clientDevice()];
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { group } = await a.client.groups.createGroup({ name: "g", userIds: [ben!.userId] });
  const conversationId = group!.groupId;

  const texts = Array.from({ length: 60 }, (_, n) => `m${n}`);
  let broken = 0;
  for (let at = 0; at < texts.length; at += 10) {
    const sent = texts.slice(at, at + 10).map((text) => a.client.send({ conversationId }, text));
    const { rowCount } = await pool.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'server'",
    );
    broken += rowCount ?? 0;
    await Promise.all(sent);
  }
  assert.ok(broken > 0);
  await b.until(() => b.texts(conversationId).length === texts.length);
  assert.deepEqual(b.texts(conversationId), texts);
  const { rows } = await pool.query(
    `SELECT last_sequence::int - count(*)::int AS missing FROM im.conversation c
       JOIN im.entry e USING (conversation_id) WHERE conversation_id = $1 GROUP BY last_sequence`,
    [conversationId],
  );
  assert.deepEqual(rows, [{ missing: 0 }]);
});

test("a start that does not fit the pooler is refused, with the remedy", async () => {
  await assert.rejects(open({}), {
    name: "Error",
    message: /refuses the settings of a session: unsupported startup .*Set LUCKY_POSTGRES_POOLER/,
  });
  await assert.rejects(open({ pooler: "prepared" }), {
    name: "Error",
    message: /does not keep named statements.*LUCKY_POSTGRES_POOLER=unprepared/,
  });
  await assert.rejects(open({ pooler: "unprepared", url: pooled(url) }), {
    name: "Error",
    message: /^Sessions of "lucky" in .* lack settings: .*enable_seqscan is on.*"npm run migrate"/,
  });
  await (await open({ pooler: "unprepared" })).end();
});

test("migrations are refused through a pooler; without a missing one, nothing needs the session", async () => {
  const owner = { url: pooled(url), variable: "LUCKY_MIGRATE_POSTGRES_URL", log: quiet };
  await migrate(owner);
  const { rows } = await pool.query<{ name: string }>(
    "DELETE FROM lucky.migration WHERE id = (SELECT max(id) FROM lucky.migration) RETURNING name",
  );
  await assert.rejects(migrate(owner), {
    name: "Error",
    message: /LUCKY_MIGRATE_POSTGRES_URL leads to a pooler.*with the address of PostgreSQL/,
  });
  await pool.query("INSERT INTO lucky.migration (name, run_on) VALUES ($1, now())", [
    rows[0]!.name,
  ]);
});

test("a full or absent PgBouncer, or PostgreSQL behind it, is UNAVAILABLE until it is back", async (t) => {
  const small = await startPgbouncer(urls, { max_client_conn: "2", server_login_retry: "1" });
  t.after(() => small.close());
  const options = { url: pooled(serverUrl, small), log: quiet, name: "pooled" } as const;
  const faulty = createPool({ ...options, max: 3, pooler: "unprepared" });
  t.after(() => faulty.end());
  const unavailable = (error: unknown) =>
    reasonOf(databaseUnavailable(error)) === ErrorReason.UNAVAILABLE;

  const opened = await Promise.allSettled([1, 2, 3].map(() => faulty.connect()));
  const refused = opened.filter(({ status }) => status === "rejected");
  assert.ok(refused.length > 0);
  for (const { reason } of refused as PromiseRejectedResult[]) assert.ok(unavailable(reason));
  const [held, ...others] = opened.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
  for (const other of others) other.release();
  assert.ok(held);
  const sleeping = held.query("SELECT pg_sleep(30)");
  await Promise.all([assert.rejects(sleeping, unavailable), small.kill()]);
  held.release();
  await assert.rejects(faulty.query("SELECT 1"), unavailable);
  await small.restart();
  const cut = faulty.query("SELECT pg_terminate_backend(pg_backend_pid())");
  await assert.rejects(cut, unavailable);
  assert.equal((await faulty.query("SELECT 1 AS one")).rows[0].one, 1);
});
