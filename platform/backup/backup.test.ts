import assert from "node:assert/strict";
import { chmod, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import pg from "pg";
import { migrate, migrationNames } from "#platform/postgres/migrate.ts";
import { quiet, startTestPostgres } from "../../test/backends/postgres.ts";
import { checkMigrations, loadBackup } from "./load-backup.ts";
import { promote } from "./promote.ts";
import { checkBackup } from "./read-backup.ts";
import { writeBackup } from "./write-backup.ts";

const { url, pool } = await startTestPostgres({ after });
const folder = await mkdtemp(join(tmpdir(), "lucky-backup-"));
await chmod(folder, 0o700);
after(() => rm(folder, { recursive: true, force: true }));
before(() => fill(url));

const never = new AbortController().signal;
const HISTORY = "SELECT im.history() AS history";
const EPOCHS = "SELECT min(epoch) AS lowest, max(epoch) AS highest, count(*) AS n FROM im.bucket";
const AHEAD = `
  SELECT (SELECT count(*) FROM im.conversation WHERE changed_by > pg_current_xact_id()) AS conversations,
         (SELECT count(*) FROM im.member WHERE changed_by > pg_current_xact_id()) AS members`;

/** Creates an empty database. */
async function createDatabase(name: string): Promise<string> {
  await pool.query(`CREATE DATABASE ${name} TEMPLATE template0`);
  return urlOf(name);
}

/** The URL of another database. */
function urlOf(name: string): string {
  const address = new URL(url);
  address.pathname = `/${name}`;
  return address.href;
}

/** Runs statements in a database; returns the rows of the last one. */
async function query(
  database: string,
  ...statements: string[]
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(database);
  await client.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const statement of statements) ({ rows } = await client.query(statement));
    return rows;
  } finally {
    await client.end();
  }
}

/** Rows for every table: texts that need escaping, nulls, bytes and arrays. */
async function fill(database: string): Promise<void> {
  await query(
    database,
    `INSERT INTO auth.account (user_id, user_name, user_name_key, display_name, password_hash, phone, signature)
     VALUES (1, 'ana', 'ana', E'tab\\t line\\n back\\\\slash', 'hash', '\\x00ff5c2e0a', E'\\\\.'),
            (2, 'ben', 'ben', '', NULL, NULL, '😀')`,
    `INSERT INTO auth.login (login_id, user_id, device_id, device_class, device_name, client_version,
                             created_at, last_refreshed_at, access_expires_at)
     VALUES ('0123ab00-0000-4000-8000-000000000001', 1, 'd', 1, 'n', 'v', now(), now(), 'infinity')`,
    "INSERT INTO auth.refresh_token VALUES ('\\x01', '0123ab00-0000-4000-8000-000000000001', now(), now())",
    "INSERT INTO auth.name_shape VALUES ('ana', 1)",
    "INSERT INTO auth.device_rule VALUES (1, 5, 1)",
    `INSERT INTO auth.audit (actor_id, action, user_id, detail, reason, coarse_address, at)
     VALUES (0, 1, 1, '', '', '', now()), (0, 2, 1, '', '', '', now())`,
    `INSERT INTO im.conversation (conversation_id, kind, member_count, last_sequence, created_at_ms)
     SELECT id, 1, 2, 100, 0 FROM generate_series(1, 50) AS id`,
    "INSERT INTO im.conversation (conversation_id, kind, member_count, created_at_ms) VALUES (99, 2, 1, 0)",
    `INSERT INTO im.member (conversation_id, user_id, kind)
     SELECT id, user_id, 1 FROM generate_series(1, 50) AS id, (VALUES (1), (2)) AS u(user_id)`,
    "INSERT INTO im.direct VALUES (1, 2, 1)",
    `INSERT INTO im.entry
     SELECT id, sequence, id * 1000 + sequence, 1, sequence::text, 1, sequence, 0,
            decode(repeat(md5(sequence::text), 20), 'hex')
       FROM generate_series(1, 50) AS id, generate_series(1, 100) AS sequence`,
    "INSERT INTO im.outbox VALUES (1, '{1,2}', '{99,99}', '{1,1}', 0, 0, 0, '{1}')",
    "INSERT INTO im.news (conversation_ids, last_sequences) VALUES ('{1}', '{99}')",
    "INSERT INTO lucky.worker VALUES (7, 'server-0', now(), 1796025776624)",
  );
}

/** A text of all rows of all tables, without transaction ids and epochs. */
async function contentOf(database: string): Promise<Record<string, string>> {
  const tables = await query(
    database,
    `SELECT schemaname || '.' || tablename AS name FROM pg_tables
      WHERE schemaname IN ('lucky', 'auth', 'im')
        AND tablename NOT IN ('migration', 'news', 'news_floor')`,
  );
  const content: Record<string, string> = {};
  for (const { name } of tables) {
    const [row] = await query(
      database,
      `SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(r, E'\\n' ORDER BY r)), '') AS rows
         FROM (SELECT (to_jsonb(t) - 'changed_by' - 'epoch')::text AS r FROM ${name} t) AS texts`,
    );
    content[String(name)] = String(row!.rows);
  }
  return content;
}

/** Writes a backup of a database; returns its path. */
async function backUp(database: string, name: string): Promise<string> {
  const file = join(folder, name);
  await writeBackup({ url: database, file, keyFingerprint: "k", signal: never });
  return file;
}

/** Restores a backup into a new database; returns its URL. */
async function restoreTo(name: string, file: string): Promise<string> {
  const { header } = await checkBackup(file);
  const database = await createDatabase(name);
  await loadBackup({ file, header, url: database, log: quiet, signal: never });
  return database;
}

test("a restored database has the rows of the backup, and transaction ids of its own", async () => {
  const file = await backUp(url, "whole");
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const { header, footer } = await checkBackup(file);
  assert.equal(header.keyFingerprint, "k");
  assert.deepEqual(header.migrations, await migrationNames());
  assert.equal(footer.rows["im.entry"], 5_000);
  const restored = await restoreTo("restored", file);
  assert.deepEqual(await contentOf(restored), await contentOf(url));
  assert.deepEqual(await query(restored, AHEAD), [{ conversations: "0", members: "0" }]);
  assert.deepEqual(await query(restored, "SELECT count(*) AS news FROM im.news"), [{ news: "0" }]);
  const [audit] = await query(
    restored,
    `INSERT INTO auth.audit (actor_id, action, user_id, detail, reason, coarse_address, at)
     VALUES (0, 1, 1, '', '', '', now()) RETURNING audit_id`,
  );
  assert.equal(audit!.audit_id, "3");
});

test("each restore of a backup raises all epochs to other values, and starts another history", async () => {
  const [original] = await query(url, EPOCHS);
  assert.deepEqual(original, { lowest: "1", highest: "1", n: "1024" });
  const again = await restoreTo("again", join(folder, "whole"));
  const epochs = [await query(urlOf("restored"), EPOCHS), await query(again, EPOCHS)].flat();
  for (const { lowest, highest, n } of epochs) assert.deepEqual([lowest, n], [highest, "1024"]);
  assert.ok(Number(epochs[0]!.lowest) > 1);
  assert.ok(Number(epochs[1]!.lowest) > Number(epochs[0]!.lowest));
  const histories = new Set<unknown>();
  for (const database of [url, urlOf("restored"), again])
    histories.add((await query(database, HISTORY))[0]!.history);
  assert.equal(histories.size, 3);
});

test("a backup of an older version is restored and then migrated", async () => {
  const older = await createDatabase("older");
  const names = (await migrationNames()).slice(0, 9);
  await migrate({ url: older, log: quiet, count: names.length });
  await query(
    older,
    `INSERT INTO im.conversation (conversation_id, kind, member_count, last_sequence, created_at_ms, updated_at_ms)
     VALUES (5, 2, 1, 1, 0, 0)`,
    "INSERT INTO im.member (conversation_id, user_id, kind, updated_at_ms) VALUES (5, 1, 2, 0)",
    "INSERT INTO im.entry VALUES (5, 1, 1, 1, 'k', 1, 1, 0, 'text')",
  );
  const file = await backUp(older, "older");
  assert.deepEqual((await checkBackup(file)).header.migrations, names);
  const restored = await restoreTo("newer", file);
  await migrate({ url: restored, log: quiet });
  const rows = await query(
    restored,
    `SELECT last_sequence, user_id, sequence, (SELECT min(epoch) > 1 FROM im.bucket) AS raised,
            (SELECT count(*) FROM im.bucket WHERE state = 1) AS here
       FROM im.conversation JOIN im.member USING (conversation_id)
       JOIN im.entry USING (conversation_id)`,
  );
  const expected = { last_sequence: "1", user_id: "1", sequence: "1", raised: true, here: "1024" };
  assert.deepEqual(rows, [expected]);
});

test("a backup of a newer or foreign version is refused with its migration", async () => {
  const { header } = await checkBackup(join(folder, "whole"));
  await checkMigrations(header);
  const newer = { ...header, migrations: [...header.migrations, "9999_later"] };
  await assert.rejects(checkMigrations(newer), /it has the migration 9999_later/);
  const foreign = { ...header, migrations: ["0001_lucky", "0002_other"] };
  await assert.rejects(checkMigrations(foreign), /it has the migration 0002_other/);
});

test("a backup replaces no file", async () => {
  const { mtimeMs } = await stat(join(folder, "whole"));
  await assert.rejects(backUp(url, "whole"), /whole exists\. Choose another name/);
  assert.equal((await stat(join(folder, "whole"))).mtimeMs, mtimeMs);
});

test("a backup into a folder that cannot be written names its file", async () => {
  await assert.rejects(backUp(url, "no folder/a"), /no folder\/a cannot be written: ENOENT/);
});

for (const [title, end, error] of [
  [
    "PostgreSQL stops",
    (): unknown =>
      pool.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'relation'",
      ),
    /PostgreSQL stopped before the backup was complete/,
  ],
  [
    "it is interrupted",
    (abort: AbortController) => abort.abort(new Error("Interrupted")),
    /Interrupted/,
  ],
] as const) {
  test(`a backup leaves no file when ${title}`, async () => {
    const existing = await readdir(folder);
    const abort = new AbortController();
    const holder = await pool.connect();
    await holder.query("BEGIN; LOCK TABLE im.outbox");
    const file = join(folder, "unfinished");
    const writing = writeBackup({ url, file, keyFingerprint: "", signal: abort.signal });
    const failed = assert.rejects(writing, error);
    // The lock on im.outbox stops the backup after most tables.
    const waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'relation'";
    while ((await pool.query(waiting)).rowCount === 0);
    assert.equal((await readdir(folder)).length, existing.length + 1);
    end(abort);
    await failed;
    await holder.query("ROLLBACK");
    holder.release();
    assert.deepEqual(await readdir(folder), existing);
  });
}

test("a backup of a damaged log and its restore name the missing entries", async () => {
  const damaged = urlOf("again");
  await query(
    damaged,
    "DELETE FROM im.entry WHERE conversation_id = 3 AND sequence IN (50, 61, 62)",
    "UPDATE im.entry SET conversation_id = 0 WHERE conversation_id = 4",
    "UPDATE im.conversation SET last_sequence = 98 WHERE conversation_id = 5",
    "DELETE FROM im.entry WHERE conversation_id BETWEEN 6 AND 15 AND sequence % 10 = 0",
  );
  const file = await backUp(damaged, "damaged");
  const { header } = await checkBackup(file);
  const lines = header.damage!;
  assert.deepEqual(lines.slice(0, 6), [
    "The log is damaged. Number of conversations: 14",
    "  conversation 0: does not exist, but has 100 entries",
    "  conversation 3: lacks 3 of 100 entries: 50, 61–62",
    "  conversation 4: lacks 100 of 100 entries: 1–100",
    "  conversation 5: has 2 entries outside of 1–98",
    "  conversation 6: lacks 10 of 100 entries: 10, 20, 30, …",
  ]);
  assert.deepEqual([lines.length, lines.at(-1)], [12, "  … and 4 more"]);
  const restored = await restoreTo("damaged", file);
  assert.deepEqual(await contentOf(restored), await contentOf(damaged));
  // The same rows without the note in the header.
  const claimed = { file, header: { ...header, damage: undefined } };
  const other = await createDatabase("refused");
  await assert.rejects(
    loadBackup({ ...claimed, url: other, log: quiet, signal: never }),
    (error: Error) => error.message === lines.join("\n"),
  );

  await assert.rejects(promote({ url: damaged }), (error: Error) =>
    error.message.startsWith(lines.join("\n")),
  );
  const { damage } = await promote({ url: damaged }, { damaged: true });
  assert.deepEqual(damage, lines);
});

test("promote replaces transaction ids ahead of the cluster's, and resets the log", async () => {
  // pg_dump copies the columns as they are.
  const copied = urlOf("restored");
  await query(
    copied,
    "UPDATE im.conversation SET changed_by = '900000000000' WHERE conversation_id <= 20",
    "UPDATE im.member SET changed_by = '900000000000' WHERE conversation_id <= 30",
    "UPDATE im.news_floor SET floor = '900000000000'",
    "INSERT INTO im.news (changed_by, conversation_ids, last_sequences) VALUES ('900000000000', '{1}', '{9}')",
  );
  const content = await contentOf(copied);
  const state = `SELECT max(epoch) AS epoch, im.history() AS history FROM im.bucket`;
  const [earlier] = await query(copied, state);
  const service = new pg.Client({ connectionString: copied, application_name: "server" });
  await service.connect();
  await assert.rejects(
    promote({ url: copied }),
    /in use by server\. Stop all processes of Lucky first/,
  );
  assert.deepEqual(await query(copied, state), [earlier]);
  await service.end();

  const changes = { conversations: 20, members: 60, damage: [] };
  assert.deepEqual(await promote({ url: copied }), changes);
  const [later] = await query(copied, state);
  assert.ok(Number(later!.epoch) > Number(earlier!.epoch));
  assert.notEqual(later!.history, earlier!.history);
  assert.deepEqual(await query(copied, AHEAD), [{ conversations: "0", members: "0" }]);
  const news =
    "SELECT count(*) AS news, (SELECT floor::text::int < 900000000 FROM im.news_floor) AS reset FROM im.news";
  assert.deepEqual(await query(copied, news), [{ news: "0", reset: true }]);
  assert.deepEqual(await contentOf(copied), content);
  assert.deepEqual(await promote({ url: copied }), {
    ...changes,
    conversations: 0,
    members: 0,
  });
});

test("promote checks the services and the log while no other connection can write", async () => {
  const copied = urlOf("restored");
  const waiting =
    "SELECT FROM pg_stat_activity WHERE application_name = 'promote' AND wait_event = 'relation'";
  /** Promotes while another connection writes a statement, and meanwhile does further work. */
  const promoteBeside = async (statement: string, work = async () => {}) => {
    const writer = new pg.Client(copied);
    await writer.connect();
    await writer.query("BEGIN");
    await writer.query(statement);
    let ended = false;
    const promoted = promote({ url: copied })
      .catch((error: Error) => error.message)
      .finally(() => {
        ended = true;
      });
    while (!ended && (await pool.query(waiting)).rowCount === 0);
    await work();
    await writer.query("COMMIT");
    await writer.end();
    return promoted;
  };
  const service = new pg.Client({ connectionString: copied, application_name: "auth" });
  const state = "SELECT max(epoch) AS epoch FROM im.bucket";
  const earlier = await query(copied, state);
  const member = "UPDATE im.member SET read_sequence = read_sequence";
  const connected = await promoteBeside(member, async () => {
    await service.connect();
  });
  assert.match(String(connected), /in use by auth/);
  await service.end();
  const damaged = await promoteBeside("DELETE FROM im.entry WHERE conversation_id = 7");
  assert.match(String(damaged), /The log is damaged.*\n.*conversation 7: lacks 100/);
  assert.deepEqual(await query(copied, state), earlier);
});
