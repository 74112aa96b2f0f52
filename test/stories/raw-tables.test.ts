import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { CanaryTraffic, findSecret, type Secret } from "../attack/canaries.ts";
import { randomPhoneNumber, startSmsGateway } from "../backends/sms-gateway.ts";
import { clientOf } from "../world/people.ts";
import { queryLogs, startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const smsGateway = await startSmsGateway({ after });
const world = await startWorld({ after }, { settings: smsGateway.settings });

/** Every value of every table of a schema, as a reader of the database alone sees it. */
async function allValues(schema: string): Promise<{ where: string; text: string }[]> {
  const { rows: columns } = await world.pool.query(
    `SELECT table_name AS "table", column_name AS "column", data_type AS type
     FROM information_schema.columns WHERE table_schema = $1`,
    [schema],
  );
  const found: { where: string; text: string }[] = [];
  for (const { table, column, type } of columns) {
    const rows = await queryLogs<{ value: unknown }>(
      world,
      `SELECT "${column}" AS value FROM ${schema}."${table}"`,
    );
    for (const { value } of rows) {
      if (value === null) continue;
      const where = `${schema}.${table}.${column}`;
      if (type !== "bytea") {
        found.push({ where, text: value instanceof Date ? value.toISOString() : String(value) });
        continue;
      }
      // Encodings in which a reader may print bytes.
      const bytes = Buffer.from(value as Uint8Array);
      for (const encoding of ["latin1", "hex", "base64", "base64url"] as const)
        found.push({ where: `${where} as ${encoding}`, text: bytes.toString(encoding) });
    }
  }
  return found;
}

/** A secret, in plain text and in the encodings in which its bytes may be printed. */
function encodings(secret: Secret): Secret[] {
  const bytes = Buffer.from(secret.value);
  const as = (encoding: "hex" | "base64") => ({ ...secret, value: bytes.toString(encoding) });
  // The last characters of Base64 depend on the bytes that follow.
  const base64 = as("base64");
  return [secret, as("hex"), { ...base64, value: base64.value.replace(/..?=*$/, "") }];
}

test("the raw tables contain no password, code, token, number, location or birthday in plain text", {
  timeout: TIMEOUT,
}, async () => {
  const traffic = new CanaryTraffic(world, smsGateway);
  const ana = await traffic.register("ana");
  const ben = await traffic.register("ben");
  const phone = await traffic.bindPhone(ana);
  await traffic.registerByPhone();
  await traffic.sendMessages(ana, ben);
  await traffic.loginByQrCode(ben);
  await traffic.refresh(ben.tokens);

  // Counter-check: the owner sees the values in plain text.
  const { profile } = await clientOf(world.url, UserService, ana.token).getMyProfile({});
  const of = (what: string) => traffic.secrets.filter((one) => one.what === what);
  assert.equal(profile?.phone, phone);
  assert.equal(profile?.profile?.location, of("location")[0]!.value);
  assert.equal(profile?.addAnswer, of("answer")[0]!.value);

  assert.ok(traffic.secrets.length > 25, `${traffic.secrets.length} secrets`);
  const values = await allValues("auth");
  assert.ok(values.length > 300, `${values.length} values`);
  for (const secret of traffic.secrets.filter(({ stored }) => !stored)) {
    for (const encoded of encodings(secret)) {
      for (const { where, text } of values) {
        assert.equal(findSecret(text, encoded), undefined, `${secret.what} in ${where}`);
      }
    }
  }
  // Counter-check: the search finds values in plain text, such as user names and messages.
  const open = (value: string) => ({ what: "", value, stored: true });
  assert.ok(values.some(({ text }) => findSecret(text, open(ana.userName))));
  const written = await allValues("im");
  const message = of("message")[0]!;
  assert.ok(written.some(({ text }) => findSecret(text, message)));
});

test("a number is found only by its whole value, and only when its owner allows it", {
  timeout: TIMEOUT,
}, async () => {
  const traffic = new CanaryTraffic(world, smsGateway);
  const ana = await traffic.register("ana");
  const ben = await traffic.register("ben");
  const phone = await traffic.bindPhone(ana);
  const users = clientOf(world.url, UserService, ben.token);
  const found = async (value: string) =>
    (await users.searchUsers({ query: { case: "phone", value } })).users.map((u) => u.userId);
  assert.deepEqual(await found(phone), [ana.userId]);
  const near = phone.slice(0, -1) + ((Number(phone.at(-1)) + 1) % 10);
  assert.deepEqual(await found(near), []);
  await clientOf(world.url, UserService, ana.token).updateProfile({ searchableByPhone: false });
  assert.deepEqual(await found(phone), []);
});

test("after its deletion no account table contains personal data", {
  timeout: TIMEOUT,
}, async () => {
  const traffic = new CanaryTraffic(world, smsGateway);
  const ana = await traffic.register("ana");
  await traffic.loginByQrCode(ana);
  const phone = traffic.secret("phone", randomPhoneNumber());
  const code = await traffic.requestCode(phone, SmsPurpose.BIND, ana.token);
  const [bound] = await traffic.seal(ana.password);
  await clientOf(world.url, AuthService, ana.token).bindPhone({ phone, code, password: bound });
  const personal = [ana.userName, "a phone"].map((value) => ({ what: "", value, stored: true }));
  const personalRows = async () => {
    const mine = `SELECT to_jsonb(t)::text AS text FROM auth.login t WHERE user_id = $1
      UNION ALL SELECT to_jsonb(t)::text FROM auth.qr_login t WHERE user_id = $1
      UNION ALL SELECT to_jsonb(t)::text FROM auth.security_notice t WHERE user_id = $1`;
    const { rows } = await world.pool.query(mine, [ana.userId]);
    const open = await allValues("auth");
    const names = open
      .filter(({ text }) => findSecret(text, personal[0]!))
      .map(({ where }) => where);
    return [...names, ...rows.filter(({ text }) => findSecret(text, personal[1]!))];
  };
  assert.ok(
    (await personalRows()).length >= 6,
    "the tables contain personal data before the deletion",
  );

  const [password] = await traffic.seal(ana.password);
  await clientOf(world.url, AuthService, ana.token).deleteAccount({ password });
  assert.deepEqual(await personalRows(), []);
  const { rows } = await world.pool.query("SELECT * FROM auth.account WHERE user_id = $1", [
    ana.userId,
  ]);
  for (const column of ["phone", "phone_index", "birthday", "location", "add_answer"])
    assert.equal(rows[0][column], null, column);
  assert.equal(rows[0].password_hash, null);
  // The row itself stays, because it is the sender of her messages.
  assert.equal(rows[0].state, "deleted");
});
