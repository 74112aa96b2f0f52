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
const smsGateway = await startSmsGateway({ after });
const settings: Record<string, string> = {
  ...smsGateway.settings,
  LUCKY_LOG_LEVEL: "trace",
  LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
  LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
  LUCKY_AUTH_HASH_ITERATIONS: "1",
  LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: "100000",
};

/** A system in processes of its own, whose whole output is captured. */
interface CapturedSystem {
  readonly url: string;
  readonly postgresUrl: string;
  readonly opsUrls: readonly string[];
}

const lines: string[] = [];
const print = (line: string) => void lines.push(line);
const system = testMode === "mesh" ? await startMeshSystem() : await startEmbeddedSystem();

async function startMeshSystem(): Promise<CapturedSystem> {
  const mesh = await startMesh({ own: true, free: true, env: settings, print });
  after(() => mesh.stop());
  return { ...mesh, url: mesh.gatewayUrl };
}

async function startEmbeddedSystem(): Promise<CapturedSystem> {
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

/** Every text that leaves the system besides the answers of calls: log, errors and metrics. */
async function visibleTexts(errors: readonly string[]): Promise<[where: string, text: string][]> {
  const found: [string, string][] = [
    ["the log", lines.join("\n")],
    ["an error", errors.join("\n")],
  ];
  for (const url of system.opsUrls)
    found.push([`the metrics at ${url}`, await (await fetch(`${url}/metrics`)).text()]);
  return found;
}

async function queryDatabase(sql: string): Promise<void> {
  const client = new pg.Client(system.postgresUrl);
  await client.connect();
  await client.query(sql);
  await client.end();
}

async function requireNoSecrets(traffic: CanaryTraffic): Promise<void> {
  const texts = await visibleTexts(traffic.errors);
  for (const secret of traffic.secrets) {
    for (const [where, text] of texts) {
      assert.equal(findSecret(text, secret), undefined, `${secret.what} in ${where}`);
    }
  }
}

test("no secret appears in the log at level trace, in a metric or in an error", {
  timeout: TIMEOUT,
}, async () => {
  const traffic = new CanaryTraffic(system, smsGateway);
  const ana = await traffic.register("ana");
  const ben = await traffic.register("ben");
  await traffic.bindPhone(ana);
  const { phone } = await traffic.registerByPhone();
  await traffic.users(ben.token).searchUsers({ query: { case: "phone", value: phone } });
  await traffic.sendMessages(ana, ben);
  await traffic.loginByQrCode(ben);
  await traffic.refresh(ben.tokens);
  await traffic.sendInvalidRequests(ana);
  await traffic.callOverSocket(ben);
  const root = await traffic.register("root");
  const leaver = await traffic.register("leaver");
  const leaversPhone = await traffic.bindPhone(leaver);
  await queryDatabase(`UPDATE auth.account SET role = 'admin' WHERE user_id = ${root.userId}`);
  await traffic.runAdminActions(root, leaver, leaversPhone);
  assert.ok(traffic.secrets.length > 30, `${traffic.secrets.length} secrets`);
  assert.ok(traffic.errors.length > 10, `${traffic.errors.length} errors`);
  // Counter-check: the log has the calls, at the lowest level.
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
  await requireNoSecrets(traffic);
});

test("no secret appears in the log or in an error when the SMS gateway or the database fails", {
  timeout: TIMEOUT,
}, async () => {
  const traffic = new CanaryTraffic(system, smsGateway);
  const ana = await traffic.register("ana");
  const cara = await traffic.register("cara");
  smsGateway.answerWith(500, 500, 500, 500, 400);
  const unsent = {
    phone: traffic.secret("phone", randomPhoneNumber()),
    purpose: SmsPurpose.REGISTER,
  };
  await traffic.attempt(traffic.auth().sendSmsCode(unsent));

  const client = new pg.Client(system.postgresUrl);
  await client.connect();
  after(() => client.end());
  await client.query("ALTER TABLE auth.account RENAME TO account_away");
  await client.query("ALTER TABLE auth.login RENAME TO login_away");
  await client.query("ALTER TABLE im.entry RENAME TO entry_away");
  const [sealed] = await traffic.seal(traffic.secret("password"));
  const password = sealed!;
  const users = traffic.users(ana.token);
  await traffic.expectFailure(users.updateProfile({ location: traffic.secret("location") }));
  await traffic.expectFailure(users.updateProfile({ addAnswer: traffic.secret("answer") }));
  const phone = traffic.secret("phone", randomPhoneNumber());
  await traffic.expectFailure(users.searchUsers({ query: { case: "phone", value: phone } }));
  await traffic.expectFailure(traffic.auth().register({ userName: "nobody", password }));
  const [again] = await traffic.seal(traffic.secret("password"));
  await traffic.expectFailure(
    traffic.auth().login({ userName: "x", password: again, device: traffic.device() }),
  );
  await traffic.expectFailure(traffic.auth().refresh({ refreshToken: ana.tokens.refreshToken }));
  await traffic.expectFailure(traffic.sendMessages(ana, cara));
  await client.query("ALTER TABLE auth.account_away RENAME TO account");
  await client.query("ALTER TABLE auth.login_away RENAME TO login");
  await client.query("ALTER TABLE im.entry_away RENAME TO entry");

  // Counter-check: the log has the failures.
  assert.ok(
    lines.some((line) => line.includes('"level":"error"') && line.includes("UpdateProfile")),
  );
  await requireNoSecrets(traffic);
});
