import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import pg from "pg";
import { startAll } from "../services/all.ts";
import { runMigrate } from "../services/migrate.ts";
import { startTestPostgres } from "./backends/postgres.ts";
import { people, text } from "./world/people.ts";

const root = join(import.meta.dirname, "..");
const TIMEOUT = 120_000;
const { url, pool } = await startTestPostgres({ after });
await pool.query("CREATE DATABASE fresh");

const ownerUrl = urlOf();
const users = {
  LUCKY_AUTH_POSTGRES_URL: urlOf("auth_of_fresh", "one password"),
  LUCKY_SERVER_POSTGRES_URL: urlOf("server_of_fresh", "other password"),
};

/** The URL of the database "fresh" for a user; for its owner when absent. */
function urlOf(user?: string, password = ""): string {
  const address = new URL(url);
  address.pathname = "/fresh";
  if (user !== undefined) [address.username, address.password] = [user, password];
  return address.href;
}

/** Runs `npm run migrate`. */
function npmRunMigrate(settings: Record<string, string>, ...args: string[]) {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...settings };
  const command = ["run", "--silent", "migrate", "--", ...args];
  return promisify(execFile)("npm", command, { cwd: root, env });
}

async function start(settings: Record<string, string>) {
  const dataDir = await mkdtemp(join(tmpdir(), "lucky-migrate-"));
  after(() => rm(dataDir, { recursive: true, force: true }));
  return startAll({
    env: {
      LUCKY_LOG_LEVEL: "silent",
      LUCKY_DATA_DIR: dataDir,
      LUCKY_GATEWAY_PORT: "0",
      LUCKY_CONNECT_PORT: "0",
      LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
      LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
      LUCKY_AUTH_HASH_ITERATIONS: "1",
      ...settings,
    },
  });
}

test("npm run migrate names the missing setting and fails", { timeout: TIMEOUT }, async () => {
  const { code, stderr } = await npmRunMigrate({}).then(
    () => assert.fail("it succeeded"),
    (error) => error,
  );
  assert.equal(code, 1);
  assert.match(stderr, /LUCKY_MIGRATE_POSTGRES_URL or LUCKY_POSTGRES_URL is missing/);
});

test("npm run migrate prepares an empty database for services that may not migrate", {
  timeout: TIMEOUT,
}, async (t) => {
  await pool.query("CREATE ROLE auth_of_fresh LOGIN PASSWORD 'one password'");
  const onlyAuth = { ...users, LUCKY_SERVER_POSTGRES_URL: users.LUCKY_AUTH_POSTGRES_URL };
  await assert.rejects(start(onlyAuth), /lacks the migrations 0001.*Run "npm run migrate"/);

  const { stdout } = await npmRunMigrate({ ...users, LUCKY_MIGRATE_POSTGRES_URL: ownerUrl });
  assert.match(stdout, /The database is migrated\.\n$/);
  await npmRunMigrate({ ...users, LUCKY_MIGRATE_POSTGRES_URL: ownerUrl });

  const all = await start(users);
  t.after(() => all.stop());
  const [ana, ben] = await people(all, "ana", "ben");
  const device = await ana!.clientDevice();
  await device.client.connect();
  await device.client.send({ userId: ben!.userId }, text("hi"));
  await ana!.closeDevices();
  const { rows } = await pool.query(
    `SELECT DISTINCT application_name || ' as ' || usename AS login FROM pg_stat_activity
      WHERE datname = 'fresh' ORDER BY 1`,
  );
  assert.deepEqual(
    rows.map(({ login }) => login),
    ["auth as auth_of_fresh", "server as server_of_fresh"],
  );
});

test("npm run migrate -- promote resets the log of a restored database", {
  timeout: TIMEOUT,
}, async () => {
  const settings = { ...users, LUCKY_MIGRATE_POSTGRES_URL: ownerUrl };
  await npmRunMigrate(settings);
  const client = new pg.Client(ownerUrl);
  await client.connect();
  await client.query(
    `INSERT INTO im.conversation (conversation_id, kind, member_count, last_sequence, created_at_ms, changed_by)
     VALUES (1, 2, 1, 1, 0, '900000000000')`,
  );
  const { stdout } = await npmRunMigrate(settings, "promote", "--damaged");
  assert.match(
    stdout,
    /The database is migrated\.\n.*\n {2}conversation 1: lacks 1 of 1 entries: 1\n/,
  );
  assert.match(stdout, /Its log is damaged, .* reset:\n1 conversations and 0 memberships/);
  const { rows } = await client.query("SELECT min(epoch) > 1 AS raised FROM im.bucket");
  assert.deepEqual(rows, [{ raised: true }]);
  await client.end();
  await assert.rejects(npmRunMigrate(settings, "demote"), /does not know these arguments: demote/);
});

test("a single process needs both addresses of its database, or none", {
  timeout: TIMEOUT,
}, async () => {
  const { LUCKY_AUTH_POSTGRES_URL } = users;
  await assert.rejects(
    start({ LUCKY_POSTGRES_LOG_URLS: ownerUrl }),
    /LUCKY_POSTGRES_URL is missing: LUCKY_POSTGRES_LOG_URLS needs it/,
  );
  await assert.rejects(
    start({ LUCKY_AUTH_POSTGRES_URL }),
    /LUCKY_SERVER_POSTGRES_URL or LUCKY_POSTGRES_URL is missing/,
  );
});

test("npm run migrate with LUCKY_POSTGRES_URL alone makes the roles and no user", {
  timeout: TIMEOUT,
}, async () => {
  await npmRunMigrate({ LUCKY_POSTGRES_URL: ownerUrl });
  const client = new pg.Client(ownerUrl);
  await client.connect();
  const { rows } = await client.query(
    "SELECT rolname FROM pg_roles WHERE rolname LIKE 'lucky%' OR rolcanlogin ORDER BY 1",
  );
  await client.end();
  assert.deepEqual(
    rows.map(({ rolname }) => rolname),
    ["auth_of_fresh", "lucky", "lucky_auth", "lucky_server", "server_of_fresh"],
  );
});

test("npm run migrate prepares every database of the log, and assigns the buckets once", {
  timeout: TIMEOUT,
}, async (t) => {
  for (const name of ["home", "log_a", "log_b"]) await pool.query(`CREATE DATABASE ${name}`);
  const of = (name: string, user?: string, password?: string) =>
    urlOf(user, password).replace("/fresh", `/${name}`);
  const asServer = (name: string) => of(name, "server_of_fresh", "other password");
  const settings = {
    LUCKY_LOG_LEVEL: "silent",
    LUCKY_MIGRATE_POSTGRES_URL: of("home"),
    LUCKY_MIGRATE_POSTGRES_LOG_URLS: `${of("log_a")},${of("log_b")}`,
    LUCKY_AUTH_POSTGRES_URL: of("home", "auth_of_fresh", "one password"),
    LUCKY_SERVER_POSTGRES_URL: asServer("home"),
    LUCKY_POSTGRES_LOG_URLS: `${asServer("log_a")},${asServer("log_b")}`,
  };
  assert.equal(await runMigrate([], settings), "The databases are migrated.");
  const query = async (address: string, text: string) => {
    const client = new pg.Client(address);
    await client.connect();
    return client.query(text).finally(() => client.end());
  };
  const share = "SELECT count(*)::int AS n, min(bucket) AS first FROM im.bucket WHERE state = 1";
  for (const [at, name] of ["log_a", "log_b"].entries())
    assert.deepEqual((await query(asServer(name), share)).rows, [{ n: 512, first: 512 * at }]);
  const owns = "SELECT im.owns(ARRAY[2::bigint]), im.history() <> '' AS has_history";
  assert.deepEqual((await query(asServer("log_a"), owns)).rows, [
    { owns: true, has_history: true },
  ]);
  await assert.rejects(query(asServer("log_b"), owns), { code: "LK001" });
  for (const change of ["UPDATE im.bucket SET state = 1", "UPDATE im.database SET epoch = 1"])
    await assert.rejects(query(asServer("log_b"), change), { code: "42501" });

  const report = await runMigrate(["promote", "2"], settings);
  assert.match(report, /^The databases are migrated\.\nIts log is complete/);
  const epochs = "SELECT epoch > 1 AS raised FROM im.database";
  assert.deepEqual((await query(of("log_a"), epochs)).rows, [{ raised: false }]);
  assert.deepEqual((await query(of("log_b"), epochs)).rows, [{ raised: true }]);
  await assert.rejects(runMigrate(["promote", "3"], settings), /There is no database 3/);

  const all = await start({ ...settings, LUCKY_MIGRATE_POSTGRES_LOG_URLS: "" });
  t.after(() => all.stop());
  const [ana, ben] = await people(all, "ana", "ben");
  const device = await ana!.clientDevice();
  await device.client.connect();
  await device.client.send({ userId: ben!.userId }, text("hi"));
  await ana!.closeDevices();
});

test("a start with a wrong list of databases is refused with the setting and the remedy", {
  timeout: TIMEOUT,
}, async () => {
  for (const name of ["home_new", "log_new"]) await pool.query(`CREATE DATABASE ${name}`);
  const urlsOf = (...names: string[]) =>
    names
      .map((name) => urlOf("server_of_fresh", "other password").replace("/fresh", `/${name}`))
      .join();
  const started = (logUrls: string) =>
    start({
      LUCKY_POSTGRES_URL: urlOf().replace("/fresh", "/home_new"),
      LUCKY_POSTGRES_LOG_URLS: logUrls,
    });
  const good = urlsOf("log_a", "log_b");
  const cases: [logUrls: string, error: RegExp][] = [
    [
      urlsOf("log_b"),
      /512 of 1024 buckets .* Name all databases of the log in LUCKY_POSTGRES_LOG_URLS/,
    ],
    [
      `${good},${urlsOf("log_a")}`,
      /LUCKY_POSTGRES_LOG_URLS .* URL 1 and URL 3\. Remove one of them/,
    ],
    [
      `${good},${urlsOf("log_new")}`,
      /LUCKY_POSTGRES_LOG_URLS, URL 3 lacks the migrations .* Run "npm run migrate" .*LUCKY_MIGRATE_POSTGRES_LOG_URLS/,
    ],
    [`${good},127.0.0.1/log_c`, /LUCKY_POSTGRES_LOG_URLS must be .*: check item 3/],
    [new Array(33).fill(good).join(), /LUCKY_POSTGRES_LOG_URLS must be a list of at most 32 URLs/],
  ];
  for (const [logUrls, error] of cases) await assert.rejects(started(logUrls), error);
});

test("npm run migrate refuses databases of the log without the home database that has conversations", {
  timeout: TIMEOUT,
}, async () => {
  await pool.query("CREATE DATABASE log_c");
  const settings = {
    LUCKY_LOG_LEVEL: "silent",
    LUCKY_POSTGRES_URL: ownerUrl,
    LUCKY_POSTGRES_LOG_URLS: ownerUrl.replace("/fresh", "/log_c"),
  };
  const refused = /LUCKY_POSTGRES_URL still has the conversations\. Name it/;
  await assert.rejects(runMigrate([], settings), refused);
  await assert.rejects(start(settings), refused);
});
