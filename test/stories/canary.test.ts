import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import pg from "pg";
import { SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { startChild } from "../../scripts/child.ts";
import { startMesh } from "../../scripts/mesh.ts";
import { freePorts } from "../../scripts/ports.ts";
import { CanaryTraffic, findSecret } from "../attack/canaries.ts";
import { startTestPostgres } from "../backends/postgres.ts";
import { randomPhoneNumber, startSmsGateway } from "../backends/sms-gateway.ts";
import { testMode } from "../world/world.ts";

const TIMEOUT = 170_000;
const phones = await startSmsGateway({ after });
const settings: Record<string, string> = {
  ...phones.settings,
  LUCKY_LOG_LEVEL: "trace",
  LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
  LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
  LUCKY_AUTH_HASH_ITERATIONS: "1",
  LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: "100000",
};

/** A Lucky in processes of its own, all of whose output is kept. */
interface Heard {
  readonly url: string;
  readonly postgresUrl: string;
  readonly opsUrls: readonly string[];
}

const lines: string[] = [];
const print = (line: string) => void lines.push(line);
const lucky = testMode === "mesh" ? await meshed() : await inOneProcess();

async function meshed(): Promise<Heard> {
  const mesh = await startMesh({ own: true, free: true, env: settings, print });
  after(() => mesh.stop());
  return { ...mesh, url: mesh.gatewayUrl };
}

async function inOneProcess(): Promise<Heard> {
  const postgres = await startTestPostgres({ after });
  const dataDir = await mkdtemp(join(tmpdir(), "lucky-data-"));
  after(() => rm(dataDir, { recursive: true, force: true }));
  const [port, opsPort, connectPort] = await freePorts(3);
  const opsUrl = `http://127.0.0.1:${opsPort}`;
  const child = startChild({
    name: "all",
    script: "services/all.ts",
    env: {
      PATH: process.env.PATH,
      ...settings,
      LUCKY_GATEWAY_PORT: String(port),
      LUCKY_OPS_PORT: String(opsPort),
      LUCKY_CONNECT_PORT: String(connectPort),
      LUCKY_DATA_DIR: dataDir,
      LUCKY_POSTGRES_URL: postgres.url,
    },
    readyUrl: `${opsUrl}/readyz`,
    print,
  });
  after(() => child.stop(20_000));
  await child.ready();
  return { url: `http://127.0.0.1:${port}`, postgresUrl: postgres.url, opsUrls: [opsUrl] };
}

/** Everything that anybody but the two ends of a call could have read. */
async function overheard(errors: readonly string[]): Promise<[where: string, text: string][]> {
  const found: [string, string][] = [
    ["the log", lines.join("\n")],
    ["an error", errors.join("\n")],
  ];
  for (const url of lucky.opsUrls)
    found.push([`the metrics at ${url}`, await (await fetch(`${url}/metrics`)).text()]);
  return found;
}

async function inDatabase(sql: string): Promise<void> {
  const client = new pg.Client(lucky.postgresUrl);
  await client.connect();
  await client.query(sql);
  await client.end();
}

async function requireUnheard(some: CanaryTraffic): Promise<void> {
  const heard = await overheard(some.errors);
  for (const secret of some.secrets) {
    for (const [where, text] of heard) {
      assert.equal(findSecret(text, secret), undefined, `${secret.what} in ${where}`);
    }
  }
}

test("what is secret is in no log, at its lowest level, in no metric and in no error", {
  timeout: TIMEOUT,
}, async () => {
  const some = new CanaryTraffic(lucky, phones);
  const ana = await some.register("ana");
  const ben = await some.register("ben");
  await some.bindPhone(ana);
  const { phone } = await some.registerByPhone();
  await some.users(ben.token).searchUsers({ query: { case: "phone", value: phone } });
  await some.sendMessages(ana, ben);
  await some.loginByQrCode(ben);
  await some.refresh(ben.tokens);
  await some.sendInvalidRequests(ana);
  await some.callOverSocket(ben);
  const root = await some.register("root");
  const leaver = await some.register("leaver");
  const leaversPhone = await some.bindPhone(leaver);
  await inDatabase(`UPDATE auth.account SET role = 'admin' WHERE user_id = ${root.userId}`);
  await some.runAdminActions(root, leaver, leaversPhone);
  assert.ok(some.secrets.length > 30, `${some.secrets.length} secrets`);
  assert.ok(some.errors.length > 10, `${some.errors.length} errors`);
  // The log does tell of the calls, down to the last of them.
  const all = lines.join("\n");
  for (const method of [
    "RegisterByPhone",
    "UpdateProfile",
    "GetQrLogin",
    "SendSmsCode",
    "SetPassword",
  ])
    assert.ok(all.includes(method), method);
  assert.ok(all.includes('"level":"debug"'));
  assert.ok(findSecret(all, { what: "user", value: ana.userId, stored: false }));
  await requireUnheard(some);
});

test("nor when the gateway for messages, or the database, fails in the middle of it", {
  timeout: TIMEOUT,
}, async () => {
  const some = new CanaryTraffic(lucky, phones);
  const ana = await some.register("ana");
  const cara = await some.register("cara");
  phones.answerWith(500, 500, 500, 500, 400);
  const unsent = { phone: some.secret("phone", randomPhoneNumber()), purpose: SmsPurpose.REGISTER };
  await some.attempt(some.auth().sendSmsCode(unsent));

  const client = new pg.Client(lucky.postgresUrl);
  await client.connect();
  after(() => client.end());
  await client.query("ALTER TABLE auth.account RENAME TO account_away");
  await client.query("ALTER TABLE auth.login RENAME TO login_away");
  await client.query("ALTER TABLE im.entry RENAME TO entry_away");
  const [sealed] = await some.seal(some.secret("password"));
  const password = sealed!;
  const users = some.users(ana.token);
  await some.expectFailure(users.updateProfile({ location: some.secret("location") }));
  await some.expectFailure(users.updateProfile({ addAnswer: some.secret("answer") }));
  const phone = some.secret("phone", randomPhoneNumber());
  await some.expectFailure(users.searchUsers({ query: { case: "phone", value: phone } }));
  await some.expectFailure(some.auth().register({ userName: "nobody", password }));
  const [again] = await some.seal(some.secret("password"));
  await some.expectFailure(
    some.auth().login({ userName: "x", password: again, device: some.device() }),
  );
  await some.expectFailure(some.auth().refresh({ refreshToken: ana.tokens.refreshToken }));
  await some.expectFailure(some.sendMessages(ana, cara));
  await client.query("ALTER TABLE auth.account_away RENAME TO account");
  await client.query("ALTER TABLE auth.login_away RENAME TO login");
  await client.query("ALTER TABLE im.entry_away RENAME TO entry");

  // The log says what went wrong.
  assert.ok(
    lines.some((line) => line.includes('"level":"error"') && line.includes("UpdateProfile")),
  );
  await requireUnheard(some);
});
