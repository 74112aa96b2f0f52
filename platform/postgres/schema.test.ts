import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { startTestPostgres } from "../../test/backends/postgres.ts";
import { columnsOfDatabase, columnsOfSchema, differences } from "./schema.suite.ts";

const { pool } = await startTestPostgres({ after });
const schema = await readFile(new URL("../../prisma/schema.prisma", import.meta.url), "utf8");

test("schema.prisma and the migrated database agree on every column", async () => {
  const database = await columnsOfDatabase(pool);
  assert.deepEqual(differences(columnsOfSchema(schema), database), []);
  assert.ok(database.size > 50);
});

test("a column that is missing or different in schema.prisma is reported", async () => {
  await pool.query(`
    ALTER TABLE auth.account ADD COLUMN email text;
    ALTER TABLE auth.login ALTER COLUMN device_name DROP NOT NULL;
    ALTER TABLE im.member ALTER COLUMN role TYPE integer;
    ALTER TABLE im.direct DROP COLUMN conversation_id;
    ALTER TABLE auth.account DROP CONSTRAINT account_user_name_key_key;
    CREATE TABLE lucky.note (text text)`);
  assert.deepEqual(differences(columnsOfSchema(schema), await columnsOfDatabase(pool)), [
    "auth.account.email: schema.prisma says nothing, the database text, null",
    "auth.account.user_name_key: schema.prisma says text, not null, unique, the database text, not null",
    "auth.login.device_name: schema.prisma says text, not null, the database text, null",
    "im.direct.conversation_id: schema.prisma says int8, not null, the database nothing",
    "im.member.role: schema.prisma says int2, not null, the database int4, not null",
    "lucky.note.text: schema.prisma says nothing, the database text, null",
  ]);
});

test("a type that the comparison does not know is an error", () => {
  const strange = schema.replace(/holder +String/, "holder Json");
  assert.throws(() => columnsOfSchema(strange), /Worker\.holder: what is Json/);
});
