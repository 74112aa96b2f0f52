import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { migrate, migrationNames } from "./migrate.ts";
import { grantRoles } from "./roles.ts";

const { url, pool } = await startTestPostgres({ after });
const owner = { url, variable: "LUCKY_MIGRATE_POSTGRES_URL" };
const auth = addressOf("a user of auth", "an auth password");
const server = addressOf("server_0", "a server password");
before(() => grantRoles({ owner, auth, server, log: quiet }));

/** The address of a user, in a database of the same server. */
function addressOf(user: string, password: string, database = "lucky") {
  const address = new URL(url);
  [address.username, address.password, address.pathname] = [user, password, `/${database}`];
  return { url: address.href, variable: "LUCKY_X_POSTGRES_URL" };
}

/** Runs a statement as a user. */
async function run(address: { url: string }, sql: string) {
  const client = new pg.Client(address.url);
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

const DENIED = { code: "42501" };

test("each role has the rights that its service needs on its own tables, and none on the other's", async () => {
  const { rows } = await pool.query<{ grantee: string; table: string; rights: string }>(`
    SELECT role AS grantee, n.nspname || '.' || c.relname AS table,
           array_to_string(ARRAY(
             SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',
                                        'REFERENCES', 'TRIGGER']) p
              WHERE has_table_privilege(role, c.oid, p)), ' ') AS rights
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
           unnest(ARRAY['a user of auth', 'server_0']) AS role
     WHERE n.nspname IN ('auth', 'im', 'lucky') AND c.relkind = 'r'`);
  const less: Record<string, string> = {
    "auth.account": "SELECT INSERT UPDATE",
    "auth.audit": "SELECT INSERT",
    "im.bucket": "SELECT",
    "im.conversation": "SELECT INSERT UPDATE",
    "im.database": "SELECT",
    "im.direct": "SELECT INSERT",
    "im.entry": "SELECT INSERT",
    "im.group_key": "SELECT INSERT",
    "im.member": "SELECT INSERT UPDATE",
    "lucky.migration": "SELECT",
    "lucky.worker": "SELECT INSERT UPDATE",
  };
  const foreign = { "a user of auth": "im.", server_0: "auth." } as Record<string, string>;
  for (const { grantee, table, rights } of rows) {
    const own = less[table] ?? "SELECT INSERT UPDATE DELETE";
    const expected = table.startsWith(foreign[grantee]!) ? "" : own;
    assert.equal(rights, expected, `${grantee} on ${table}`);
  }
  assert.ok(rows.length > 30);
});

test("PostgreSQL refuses a service the other's tables and every change of a schema", async () => {
  for (const [address, statements] of [
    [
      auth,
      [
        "SELECT 1 FROM im.entry",
        "INSERT INTO im.outbox DEFAULT VALUES",
        "UPDATE auth.audit SET detail = ''",
        "DELETE FROM auth.audit",
        "TRUNCATE auth.audit",
        "ALTER TABLE auth.audit DISABLE TRIGGER audit_append_only",
        "DROP TRIGGER audit_append_only ON auth.audit",
        "SET session_replication_role = replica",
        "CREATE TABLE auth.more (a int)",
        "CREATE SCHEMA more",
        "DELETE FROM lucky.migration",
        "SET ROLE lucky_server",
      ],
    ],
    [
      server,
      [
        "SELECT 1 FROM auth.account",
        "SELECT private_key FROM auth.key",
        "UPDATE im.entry SET sender_id = 1",
        "DELETE FROM im.entry",
        "DROP TABLE im.entry",
        "CREATE TABLE im.more (a int)",
        "SET ROLE lucky_auth",
      ],
    ],
  ] as const)
    for (const sql of statements) await assert.rejects(run(address, sql), DENIED, sql);
  // Edits and recalls replace bodies.
  await run(server, "UPDATE im.entry SET body = ''");
});

test("a table of a later migration is closed until rights are granted, and then open to its own role only", async () => {
  await pool.query(`CREATE TABLE auth.later (id bigserial, text text);
    CREATE TABLE im.later (id bigserial, text text)`);
  const statements = (table: string) => [
    `INSERT INTO ${table} (text) VALUES ('a')`,
    `UPDATE ${table} SET text = 'b'`,
    `SELECT * FROM ${table}`,
    `DELETE FROM ${table}`,
  ];
  for (const sql of [...statements("auth.later"), ...statements("im.later")])
    for (const address of [auth, server]) await assert.rejects(run(address, sql), DENIED, sql);
  await grantRoles({ owner, auth, server, log: quiet });
  for (const sql of statements("auth.later")) {
    await run(auth, sql);
    await assert.rejects(run(server, sql), DENIED, sql);
  }
  for (const sql of statements("im.later")) {
    await run(server, sql);
    await assert.rejects(run(auth, sql), DENIED, sql);
  }
  await pool.query("DROP TABLE auth.later; DROP TABLE im.later");
});

test("a process of the owner that applies a migration at its start grants the rights on all tables", async () => {
  const names = await migrationNames();
  const buckets = names.findIndex((name) => name.endsWith("_buckets"));
  const rights = `SELECT has_table_privilege('lucky_server', 'im.bucket', 'SELECT') AS reads,
      has_table_privilege('lucky_server', 'im.bucket', 'INSERT, UPDATE, DELETE') AS writes,
      has_table_privilege('lucky_server', 'im.entry', 'SELECT') AS reads_entries`;
  for (const roles of [true, false]) {
    const address = addressOf("lucky", new URL(url).password, `later_${roles}`);
    await pool.query(`CREATE DATABASE later_${roles}`);
    await migrate({ ...address, log: quiet, count: buckets });
    // The rights that earlier versions gave. Without them, the database does not use the roles.
    if (roles)
      await run(
        address,
        `GRANT USAGE ON SCHEMA auth TO lucky_auth; GRANT USAGE ON SCHEMA im TO lucky_server;
         ALTER DEFAULT PRIVILEGES IN SCHEMA im
           GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO lucky_server`,
      );
    await migrate({ ...address, log: quiet });
    const expected = { reads: roles, writes: false, reads_entries: roles };
    assert.deepEqual((await run(address, rights)).rows, [expected]);
    const later = "SELECT has_table_privilege('lucky_server', 'im.later', 'SELECT') AS reads";
    await run(address, "CREATE TABLE im.later ()");
    assert.deepEqual((await run(address, later)).rows, [{ reads: false }]);
  }
});

test("granting again keeps the users and takes back rights that were added by hand", async () => {
  await pool.query(
    "GRANT SELECT ON im.entry TO lucky_auth; GRANT USAGE ON SCHEMA im TO lucky_auth",
  );
  await Promise.all([1, 2, 3].map(() => grantRoles({ owner, auth, server, log: quiet })));
  await assert.rejects(run(auth, "SELECT 1 FROM im.entry"), DENIED);
  await run(auth, "SELECT 1 FROM auth.account");
  await run(server, "SELECT 1 FROM im.entry");
});

test("a changed password in the URL becomes the user's; that of a superuser never changes", async () => {
  const changed = addressOf("a user of auth", "another password");
  await grantRoles({ owner, auth: changed, server, log: quiet });
  await run(changed, "SELECT 1 FROM auth.account");
  await assert.rejects(run(auth, "SELECT 1"), { code: "28P01" });
  await grantRoles({ owner, auth, server, log: quiet });
  await run(auth, "SELECT 1 FROM auth.account");

  await pool.query("CREATE ROLE root LOGIN SUPERUSER PASSWORD 'its password'");
  const root = addressOf("root", "a wrong one");
  await assert.rejects(grantRoles({ owner, auth: root, server, log: quiet }), {
    message: "The password in LUCKY_X_POSTGRES_URL is wrong.",
  });
  await run(addressOf("root", "its password"), "SELECT 1");
});

test("services may log in as the owner of the tables", async () => {
  await grantRoles({ owner, auth: owner, server: owner, log: quiet });
  await run(owner, "SELECT 1 FROM im.entry");
});

test("an owner without the right to create roles is told what is missing", async () => {
  await pool.query("CREATE ROLE few LOGIN PASSWORD 'few'");
  await pool.query("CREATE DATABASE few OWNER few");
  const few = { ...addressOf("few", "few", "few"), variable: "LUCKY_MIGRATE_POSTGRES_URL" };
  await migrate({ ...few, log: quiet });
  // The group roles exist in this server already, so only a new user is refused.
  await grantRoles({ owner: few, auth: few, server: few, log: quiet });
  const fresh = addressOf("fresh", "fresh", "few");
  await assert.rejects(grantRoles({ owner: few, auth: fresh, server: few, log: quiet }), {
    name: "Error",
    message:
      /"few" \(LUCKY_MIGRATE_POSTGRES_URL\) PostgreSQL says: permission denied to create role/,
  });
});

test("a role that cannot migrate starts on a current schema, and is told to migrate an older one", async () => {
  await migrate({ ...auth, log: quiet });
  await migrate({ ...server, log: quiet });

  await pool.query("CREATE DATABASE empty");
  const onEmpty = addressOf("server_0", "a server password", "empty");
  await assert.rejects(migrate({ ...onEmpty, log: quiet }), {
    name: "Error",
    message:
      /^The database of LUCKY_X_POSTGRES_URL lacks the migrations 0001_lucky, .*which "server_0" cannot apply\. Run "npm run migrate"/,
  });
  const last = await pool.query<{ name: string }>(
    "DELETE FROM lucky.migration WHERE id = (SELECT max(id) FROM lucky.migration) RETURNING name",
  );
  const { name } = last.rows[0]!;
  const lacks = new RegExp(`lacks the migrations ${name}, which "a user of auth" cannot apply`);
  await assert.rejects(migrate({ ...auth, log: quiet }), lacks);
  await pool.query("INSERT INTO lucky.migration (name, run_on) VALUES ($1, now())", [name]);
});

test("a user outside the roles is told to run the migration", async () => {
  await pool.query("CREATE ROLE stranger LOGIN PASSWORD 'stranger'");
  const stranger = addressOf("stranger", "stranger");
  await assert.rejects(migrate({ ...stranger, log: quiet }), {
    message: /gives "stranger" no rights on Lucky's tables\. Run "npm run migrate"/,
  });
});
