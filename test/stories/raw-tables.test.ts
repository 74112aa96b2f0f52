import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { CanaryTraffic, findSecret, type Secret } from "../attack/canaries.ts";
import { randomPhoneNumber, startSmsGateway } from "../backends/sms-gateway.ts";
import { clientOf } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const phones = await startSmsGateway({ after });
const world = await startWorld({ after }, { settings: phones.settings });

/** Every value of every table of a schema, as people who have the database alone would read it. */
async function everything(schema: string): Promise<{ where: string; text: string }[]> {
  const { rows: columns } = await world.pool.query(
    `SELECT table_name AS "table", column_name AS "column", data_type AS type
     FROM information_schema.columns WHERE table_schema = $1`,
    [schema],
  );
  const found: { where: string; text: string }[] = [];
  for (const { table, column, type } of columns) {
    const { rows } = await world.pool.query(
      `SELECT "${column}" AS value FROM ${schema}."${table}"`,
    );
    for (const { value } of rows) {
      if (value === null) continue;
      const where = `${schema}.${table}.${column}`;
      if (type !== "bytea") {
        found.push({ where, text: value instanceof Date ? value.toISOString() : String(value) });
        continue;
      }
      // However somebody looks at bytes.
      const bytes = Buffer.from(value);
      for (const encoding of ["latin1", "hex", "base64", "base64url"] as const)
        found.push({ where: `${where} as ${encoding}`, text: bytes.toString(encoding) });
    }
  }
  return found;
}

/** A secret and how it looks where bytes are printed. */
function disguises(secret: Secret): Secret[] {
  const bytes = Buffer.from(secret.value);
  const as = (encoding: "hex" | "base64") => ({ ...secret, value: bytes.toString(encoding) });
  // Ends of Base64 depend on what follows.
  const base64 = as("base64");
  return [secret, as("hex"), { ...base64, value: base64.value.replace(/..?=*$/, "") }];
}

test("who reads the raw tables finds no password, code, token, number, place or day", {
  timeout: TIMEOUT,
}, async () => {
  const some = new CanaryTraffic(world, phones);
  const ana = await some.register("ana");
  const ben = await some.register("ben");
  const phone = await some.bindPhone(ana);
  await some.registerByPhone();
  await some.sendMessages(ana, ben);
  await some.loginByQrCode(ben);
  await some.refresh(ben.tokens);

  // The values are there, for who may see them.
  const { profile } = await clientOf(world.url, UserService, ana.token).getMyProfile({});
  const of = (what: string) => some.secrets.filter((one) => one.what === what);
  assert.equal(profile?.phone, phone);
  assert.equal(profile?.profile?.location, of("location")[0]!.value);
  assert.equal(profile?.addAnswer, of("answer")[0]!.value);

  assert.ok(some.secrets.length > 25, `${some.secrets.length} secrets`);
  const values = await everything("auth");
  assert.ok(values.length > 300, `${values.length} values`);
  for (const secret of some.secrets.filter(({ stored }) => !stored)) {
    for (const disguise of disguises(secret)) {
      for (const { where, text } of values) {
        assert.equal(findSecret(text, disguise), undefined, `${secret.what} in ${where}`);
      }
    }
  }
  // The search itself finds what lies open, such as a user's name and what was written.
  const open = (value: string) => ({ what: "", value, stored: true });
  assert.ok(values.some(({ text }) => findSecret(text, open(ana.userName))));
  const written = await everything("im");
  const message = of("message")[0]!;
  assert.ok(written.some(({ text }) => findSecret(text, message)));
});

test("a number is found by its whole value alone, and only when its owner lets it", {
  timeout: TIMEOUT,
}, async () => {
  const some = new CanaryTraffic(world, phones);
  const ana = await some.register("ana");
  const ben = await some.register("ben");
  const phone = await some.bindPhone(ana);
  const users = clientOf(world.url, UserService, ben.token);
  const found = async (value: string) =>
    (await users.searchUsers({ query: { case: "phone", value } })).users.map((u) => u.userId);
  assert.deepEqual(await found(phone), [ana.userId]);
  const near = phone.slice(0, -1) + ((Number(phone.at(-1)) + 1) % 10);
  assert.deepEqual(await found(near), []);
  await clientOf(world.url, UserService, ana.token).updateProfile({ searchableByPhone: false });
  assert.deepEqual(await found(phone), []);
});

test("after its deletion nothing in the tables of accounts tells of a person", {
  timeout: TIMEOUT,
}, async () => {
  const some = new CanaryTraffic(world, phones);
  const ana = await some.register("ana");
  await some.loginByQrCode(ana);
  const phone = some.secret("phone", randomPhoneNumber());
  const code = await some.requestCode(phone, SmsPurpose.BIND, ana.token);
  const [bound] = await some.seal(ana.password);
  await clientOf(world.url, AuthService, ana.token).bindPhone({ phone, code, password: bound });
  const personal = [ana.userName, "a phone"].map((value) => ({ what: "", value, stored: true }));
  const tells = async () => {
    const mine = `SELECT to_jsonb(t)::text AS text FROM auth.login t WHERE user_id = $1
      UNION ALL SELECT to_jsonb(t)::text FROM auth.qr_login t WHERE user_id = $1`;
    const { rows } = await world.pool.query(mine, [ana.userId]);
    const open = await everything("auth");
    const names = open
      .filter(({ text }) => findSecret(text, personal[0]!))
      .map(({ where }) => where);
    return [...names, ...rows.filter(({ text }) => findSecret(text, personal[1]!))];
  };
  assert.ok((await tells()).length >= 6, "before it, much does");

  const [password] = await some.seal(ana.password);
  await clientOf(world.url, AuthService, ana.token).deleteAccount({ password });
  assert.deepEqual(await tells(), []);
  const { rows } = await world.pool.query("SELECT * FROM auth.account WHERE user_id = $1", [
    ana.userId,
  ]);
  for (const column of ["phone", "phone_index", "birthday", "location", "add_answer"])
    assert.equal(rows[0][column], null, column);
  assert.equal(rows[0].password_hash, null);
  // The row itself stays: what she wrote has a writer.
  assert.equal(rows[0].state, "deleted");
});
