import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { BUCKETS, bucketOf } from "#platform/buckets/bucket.ts";
import { reasonOf } from "#platform/errors.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { quiet } from "../backends/postgres.ts";
import { clientOf, type Person, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after }, { mode: "mesh" });
const { mesh } = world;
const OPEN = 'lucky_rpc_breakers{upstream="auth",state="open"}';
const CLOSED = 'lucky_rpc_breakers{upstream="auth",state="closed"}';
const openedFor = (service: string) => `lucky_rpc_breaker_opened_total{upstream="${service}"}`;
const OPENED = openedFor("auth");
const REFUSED = 'lucky_rpc_calls_refused_total{upstream="auth",reason="breaker"}';

interface Test {
  after(close: () => unknown): void;
  diagnostic(text: string): void;
}

/** Two devices in a direct conversation. `exchange` sends texts from one to the other. */
async function pairOf(t: Test, ana: Person, ben: Person) {
  const [a, b] = await Promise.all([ana.clientDevice(), ben.clientDevice()]);
  t.after(() => Promise.all([ana.closeDevices(), ben.closeDevices()]));
  await Promise.all([a.client.connect(), b.client.connect()]);
  let sent = 0;
  return {
    a,
    b,
    /** Sends texts, and resolves with their conversation when all are acknowledged and received. */
    async exchange(count: number): Promise<string> {
      const from = sent;
      sent += count;
      const texts = Array.from({ length: count }, (_, at) => `${from + at}`);
      const results = await Promise.all(
        texts.map((text) => a.client.send({ userId: ben.userId }, text)),
      );
      await b.until(() => b.texts().length === sent);
      return results[0]!.conversationId;
    },
  };
}

/** Polls a metric until the condition holds for its value. */
async function until(name: string, series: string, holds: (value: number) => boolean) {
  while (!holds(await mesh.metric(name, series)));
}

test("while auth hangs, its callers stop calling it and all else works; when it answers, calls resume at once", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const { a, exchange } = await pairOf(t, ana!, ben!);
  await exchange(10);
  const auth = mesh.process("auth-0");
  t.after(() => auth.kill("SIGCONT"));
  await auth.kill("SIGSTOP");
  for (const name of ["gateway-0", "connect-0", "server-0"])
    await until(name, OPENED, (n) => n > 0);
  // Open sessions send, receive and read.
  await exchange(200);
  await a.client.messages.sync({});
  // New calls fail at once, apart from the probe, which waits for its deadline.
  const before = await mesh.metric("gateway-0", REFUSED);
  const client = clientOf(world.url, AuthService);
  const reasons = await Promise.all(
    Array.from({ length: 20 }, () =>
      client.getPublicKey({}, { timeoutMs: 1_000 }).then(
        () => "answered",
        (error: unknown) => ErrorReason[reasonOf(error)],
      ),
    ),
  );
  const unavailable = reasons.filter((reason) => reason === "UNAVAILABLE").length;
  assert.ok(unavailable >= 18, reasons.join(" "));
  assert.ok((await mesh.metric("gateway-0", REFUSED)) - before >= 18);
  assert.equal(reasons.includes("answered"), false);

  const continuedAt = performance.now();
  await auth.kill("SIGCONT");
  await until("gateway-0", CLOSED, (n) => n === 1);
  await ana!.login();
  t.diagnostic(`recovered after ${Math.round(performance.now() - continuedAt)} ms`);
  assert.equal(await mesh.metric("gateway-0", OPEN), 0);
  await exchange(10);
});

/** Refuses connections of all instances of a service to PostgreSQL and ends the open ones. */
async function withoutDatabases(t: Test, service: string): Promise<{ allow(): Promise<unknown> }> {
  const { rows } = await world.pool.query<{ user: string }>(
    `SELECT DISTINCT quote_ident(usename) AS user FROM pg_stat_activity
      WHERE application_name LIKE $1`,
    [`${service}-%`],
  );
  const [{ user }] = rows as [{ user: string }];
  assert.equal(rows.length, 1);
  const allow = () => world.pool.query(`ALTER ROLE ${user} LOGIN`);
  t.after(allow);
  await world.pool.query(`ALTER ROLE ${user} NOLOGIN`);
  await world.pool.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1",
    [user],
  );
  return { allow };
}

for (const [service, instances] of Object.entries({ auth: 1, server: 2 }))
  test(`instances of ${service} without a database say so: their breakers open until they have one`, {
    timeout: TIMEOUT,
  }, async (t) => {
    const [ana] = await people(world, "ana");
    const { accessToken } = await ana!.login();
    const auth = clientOf(world.url, AuthService);
    const messages = clientOf(world.url, MessageService, accessToken);
    const device = { deviceId: "desk", deviceClass: DeviceClass.DESKTOP };
    const call = (): Promise<unknown> =>
      service === "auth" ? auth.createQrLogin({ device }) : messages.sync({});
    await call();
    const opened = openedFor(service);
    const before = await mesh.metric("gateway-0", opened);
    const { allow } = await withoutDatabases(t, service);
    for (let i = 0; i < 30 && (await mesh.metric("gateway-0", opened)) === before; i++)
      await assert.rejects(call(), (error) => reasonOf(error) === ErrorReason.UNAVAILABLE);
    assert.ok((await mesh.metric("gateway-0", opened)) > before);
    await allow();
    const closed = CLOSED.replace("auth", service);
    while ((await mesh.metric("gateway-0", closed)) < instances) await call().catch(() => {});
    await call();
  });

test("while RabbitMQ hangs, sends are stored and calls are answered; deliveries follow afterwards", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const { a, b, exchange } = await pairOf(t, ana!, ben!);
  await exchange(10);
  // RabbitMQ is the leader of its process group.
  const signal = (name: NodeJS.Signals) => process.kill(-mesh.backends.rabbit.pid, name);
  t.after(() => signal("SIGCONT"));
  signal("SIGSTOP");
  const sends = Array.from({ length: 100 }, (_, at) =>
    a.client.send({ userId: ben!.userId }, `stuck ${at}`),
  );
  const accepted = await Promise.all(sends);
  assert.equal(new Set(accepted.map(({ sequence }) => sequence)).size, 100);
  await ana!.login();
  await a.client.messages.sync({});
  const continuedAt = performance.now();
  signal("SIGCONT");
  await b.until(() => b.texts().filter((text) => text.startsWith("stuck")).length === 100);
  t.diagnostic(`delivered after ${Math.round(performance.now() - continuedAt)} ms`);
  for (const name of ["server-0", "server-1"])
    assert.equal(await mesh.metric(name, "lucky_outbox_failed_total"), 0);
});

test("while a database of the log hangs, conversations in the others work, and its own resume afterwards", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const placeOf = (conversationId: string) =>
    Math.floor((bucketOf(conversationId) * mesh.logUrls.length) / BUCKETS);
  const pairs = new Map<number, Awaited<ReturnType<typeof pairOf>>>();
  const SLOW = 1;
  while (!pairs.has(SLOW) || !pairs.has(2)) {
    const [ben] = await people(world, "ben");
    const pair = await pairOf(t, ana!, ben!);
    pairs.set(placeOf(await pair.exchange(1)), pair);
  }
  const pool = createPool({ url: mesh.logUrls[SLOW]!, max: 1, log: quiet, name: "test" });
  t.after(() => pool.end());
  const client = await pool.connect();
  // Every statement on these rows waits, as on a disk that does not answer.
  await client.query("BEGIN");
  await client.query("LOCK TABLE im.conversation, im.member IN ACCESS EXCLUSIVE MODE");
  const slow = pairs.get(SLOW)!.exchange(20);
  await pairs.get(2)!.exchange(200);
  await ana!.login();
  const freedAt = performance.now();
  await client.query("ROLLBACK");
  client.release();
  await slow;
  t.diagnostic(`delivered after ${Math.round(performance.now() - freedAt)} ms`);
  await pairs.get(2)!.exchange(10);
});
