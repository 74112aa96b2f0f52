import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { createLog } from "#platform/log.ts";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { migrate } from "./migrate.ts";
import { createPool, openPool, type PoolOptions } from "./pool.ts";
import { grantRoles } from "./roles.ts";
import { SESSION_SETTINGS } from "./session.ts";

const { url, pool } = await startTestPostgres({ after });
const session = { enable_seqscan: "off", jit: "off" };
const user = new URL(url);
[user.username, user.password] = ["session of a server", "a password"];
const owner = { url, variable: "LUCKY_MIGRATE_POSTGRES_URL" };
const server = { url: user.href, variable: "LUCKY_SERVER_POSTGRES_URL", session };
const grant = () => grantRoles({ owner, auth: owner, server, log: quiet });
before(grant);

const expected = { ...SESSION_SETTINGS, ...session };

/** The settings of the sessions of a pool. */
async function settingsOf(t: TestContext, options: Partial<PoolOptions>) {
  const one = createPool({ url, max: 1, log: quiet, name: "session", ...options });
  t.after(() => one.end());
  const { rows } = await one.query<{ name: string; value: string }>(
    "SELECT name, current_setting(name) AS value FROM unnest($1::text[]) AS name",
    [Object.keys(expected)],
  );
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
}

const open = (options: Partial<PoolOptions & { variable: string }>) =>
  openPool({ max: 2, log: quiet, name: "session", ...server, ...options });

test("without a pooler, a connection brings the settings of its session", async (t) => {
  assert.deepEqual(await settingsOf(t, { session }), expected);
  await (await open({ url })).end();
});

test("with a pooler, the role of the service has them, but not the owner", async (t) => {
  assert.deepEqual(await settingsOf(t, { url: user.href, pooler: "prepared" }), expected);
  await (await open({ pooler: "prepared" })).end();
  await assert.rejects(open({ pooler: "prepared", url }), {
    name: "Error",
    message:
      /^Sessions of "lucky" in PostgreSQL \(LUCKY_SERVER_POSTGRES_URL\) lack settings: statement_timeout is 0 instead of 15s, .*enable_seqscan is on instead of off.* run "npm run migrate"/,
  });
});

test("a URL that replaces the settings is refused", async () => {
  const replaced = `${url}?options=-c%20jit%3Don`;
  await assert.rejects(open({ url: replaced }), /jit is on instead of off.* from the URL/);
});

test("sessions whose commits do not wait for the disk are refused", async () => {
  const role = 'ROLE "session of a server" IN DATABASE lucky';
  await pool.query(`ALTER ${role} SET synchronous_commit = off`);
  await assert.rejects(
    open({}),
    /^Error: Sessions of "session of a server" in PostgreSQL \(LUCKY_SERVER_POSTGRES_URL\) have synchronous_commit = off: /,
  );
  await pool.query(`ALTER ${role} SET synchronous_commit = remote_apply`);
  await (await open({})).end();
  await pool.query(`ALTER ${role} RESET synchronous_commit`);
});

test("a repeated migration repairs the settings of a role, and keeps others", async (t) => {
  const role = 'ROLE "session of a server" IN DATABASE lucky';
  await pool.query(`ALTER ${role} SET enable_seqscan = on; ALTER ${role} RESET jit;
    ALTER ${role} SET work_mem = '8MB'`);
  await Promise.all([grant(), grant(), grant()]);
  assert.deepEqual(await settingsOf(t, { url: user.href, pooler: "prepared" }), expected);
  const { rows } = await pool.query(
    `SELECT setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
      WHERE rolname = 'session of a server'`,
  );
  assert.ok(rows[0].setconfig.includes("work_mem=8MB"));
});

test("a user that auth and server share gets only their common settings, and an event is logged", async (t) => {
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const log = createLog({ service: "migrate", instanceId: "migrate", level: "warn", stream });
  // The user has the settings of server from an earlier run.
  await grant();
  await grantRoles({ owner, auth: { ...server, session: {} }, server, log });
  const through = { url: user.href, pooler: "prepared" } as const;
  const both = { ...SESSION_SETTINGS, enable_seqscan: "on", jit: "on" };
  assert.deepEqual(await settingsOf(t, through), both);
  const [{ event, settings, reason }] = lines.map((line) => JSON.parse(line));
  assert.deepEqual([event, settings], ["session_settings_left_out", Object.keys(session)]);
  assert.match(reason, /the same user; behind a pooler, each needs its own/);
  await grant();
  assert.deepEqual(await settingsOf(t, through), expected);
  // Later, the user is auth's alone.
  await grantRoles({ owner, auth: { url: user.href }, server: { ...owner, session }, log: quiet });
  assert.deepEqual(await settingsOf(t, through), both);
  await grant();
});

test("an owner who may not change a user is warned, with the statements to run", async () => {
  await pool.query("CREATE ROLE plain LOGIN PASSWORD 'plain'");
  await pool.query("CREATE DATABASE plain OWNER plain");
  const inPlain = (through: string | URL) => {
    const address = new URL(through);
    address.pathname = "/plain";
    return address;
  };
  const plain = inPlain(url);
  [plain.username, plain.password] = ["plain", "plain"];
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const log = createLog({ service: "migrate", instanceId: "migrate", level: "warn", stream });
  const its = { url: plain.href, variable: "LUCKY_MIGRATE_POSTGRES_URL" };
  await migrate({ ...its, log });
  const services = { auth: its, server: { ...server, url: inPlain(user).href } };
  await grantRoles({ owner: its, ...services, log });
  assert.equal(lines.length, 1);
  assert.match(
    lines[0]!,
    /"session_settings_refused".*ALTER ROLE \\"session of a server\\" IN DATABASE \\"plain\\" SET statement_timeout = '15s'/,
  );
});

test("with a pooler that loses named statements, none is named", async (t) => {
  const named = { name: "a_name", text: "SELECT 1" };
  const names = "SELECT name FROM pg_prepared_statements WHERE name = 'a_name'";
  for (const [pooler, count] of [
    ["none", 1],
    ["prepared", 1],
    ["unprepared", 0],
  ] as const) {
    const one = createPool({ url, max: 1, log: quiet, name: "session", pooler });
    t.after(() => one.end());
    await one.query(named);
    await one.query("SELECT $1::int", [1]);
    assert.equal((await one.query(names)).rowCount, count, pooler);
  }
});
