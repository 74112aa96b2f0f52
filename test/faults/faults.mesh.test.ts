import assert from "node:assert/strict";
import { after, test } from "node:test";
import { connect } from "amqplib";
import { Redis } from "ioredis";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { RawDevice } from "../devices/raw-device.ts";
import { type ClientDevice, people } from "../world/people.ts";
import { queryLogs, startWorld } from "../world/world.ts";

const TIMEOUT = 240_000;
const MESSAGES = 1_000;
// Short intervals for a fast test; the defaults are seconds to half a minute.
const world = await startWorld(
  { after },
  {
    mode: "mesh",
    settings: {
      LUCKY_SERVER_OUTBOX_INTERVAL_MS: "500",
      LUCKY_SERVER_OUTBOX_DELAY_MS: "1000",
      LUCKY_CONNECT_SWEEP_INTERVAL_MS: "3000",
    },
  },
);

/**
 * Connects two devices with a conversation; `send` sends numbered texts through it concurrently.
 */
async function pair(t: { after(close: () => Promise<unknown>): void }) {
  const [ana, ben] = await people(world, "ana", "ben");
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { conversationId } = await a.client.send({ userId: ben!.userId }, "0");
  await b.until(() => b.texts().length === 1);
  const send = (from: number, to: number) =>
    Promise.all(
      Array.from({ length: to - from }, (_, i) =>
        a.client.send({ conversationId }, `${from + i}`, { clientMessageId: `n-${from + i}` }),
      ),
    );
  return { a, b, conversationId, send };
}

/**
 * Waits for all texts up to `count`; asserts that each is visible once, in order, and stored once.
 */
async function assertAllArrived(device: ClientDevice, conversationId: string, count: number) {
  await device.until(() => device.texts(conversationId).length >= count + 1);
  assert.deepEqual(
    device.texts(conversationId),
    Array.from({ length: count + 1 }, (_, i) => `${i}`),
  );
  assert.deepEqual(
    device.sequences(conversationId),
    Array.from({ length: count + 1 }, (_, i) => i + 1),
  );
  const rows = await queryLogs(
    world,
    "SELECT count(*) AS stored, max(sequence) AS last FROM im.entry WHERE conversation_id = $1 HAVING count(*) > 0",
    [conversationId],
  );
  assert.deepEqual(rows, [{ stored: `${count + 1}`, last: `${count + 1}` }]);
}

test("messages sent while RabbitMQ is down arrive after its restart", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  await send(1, 101);
  await world.mesh.backends.rabbit.stop();
  const accepted = await send(101, MESSAGES + 1);
  assert.equal(new Set(accepted.map((a) => a.sequence)).size, MESSAGES - 100);
  await world.mesh.backends.rabbit.restart();
  await assertAllArrived(b, conversationId, MESSAGES);
});

test("messages sent while Redis is killed and restarted all arrive", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  const sending = send(1, MESSAGES + 1);
  // This Redis has no persistence: it restarts empty.
  await world.mesh.backends.redis.kill();
  await sending;
  await world.mesh.backends.redis.restart();
  await assertAllArrived(b, conversationId, MESSAGES);

  // The system works normally afterwards: new sessions open, and deliveries are live.
  const [cai, dan] = await people(world, "cai", "dan");
  const [c, d] = await Promise.all([cai!.clientDevice(), dan!.clientDevice()]);
  t.after(() => Promise.all([cai!.closeDevices(), dan!.closeDevices()]));
  await Promise.all([c.client.connect(), d.client.connect()]);
  await c.client.send({ userId: dan!.userId }, "still here");
  await d.until(() => d.texts().includes("still here"));
});

test("while Redis has no memory, calls, sends and deliveries go on; afterwards sessions open", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  const redis = new Redis(world.mesh.backends.redis.url);
  const refill = async () => {
    await redis.config("SET", "maxmemory", "0");
    await redis.del("filler");
  };
  t.after(() => refill().then(() => redis.disconnect()));
  await redis.set("filler", Buffer.alloc(2 << 20));
  await redis.config("SET", "maxmemory", "1mb");
  // All leases expire. BLPOP waits in Redis.
  while ((await redis.keys("lucky:instance:*")).length > 0) await redis.blpop("nothing", 0.2);
  await send(1, 101);
  await assertAllArrived(b, conversationId, 100);
  const [cai, dan] = await people(world, "cai", "dan");
  await cai!.login();

  await refill();
  const [c, d] = await Promise.all([cai!.clientDevice(), dan!.clientDevice()]);
  t.after(() => Promise.all([cai!.closeDevices(), dan!.closeDevices()]));
  await Promise.all([c.client.connect(), d.client.connect()]);
  await c.client.send({ userId: dan!.userId }, "still here");
  await d.until(() => d.texts().includes("still here"));
});

test("deliveries and kicks go on after an operator deleted every queue and exchange", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  const [cai] = await people(world, "cai");
  const phone = async (at: number) => {
    const { accessToken } = await cai!.login({ deviceClass: DeviceClass.MOBILE });
    return RawDevice.hello(world.connects[at]!, accessToken);
  };
  const first = await phone(0);
  const operator = await connect(world.mesh.backends.rabbit.url);
  t.after(() => operator.close());
  const channel = await operator.createChannel();
  for (const exchange of ["lucky", "lucky.dead"]) await channel.deleteExchange(exchange);
  for (const queue of ["connect-0", "connect-1", "connect-2", "gateway-0", "lucky.dead"])
    await channel.deleteQueue(queue);
  const second = await phone(1);
  assert.equal((await first.closed).code, CloseCode.REPLACED);
  await second.roundTrip();
  await send(1, 101);
  await assertAllArrived(b, conversationId, 100);
});

test("another server publishes messages of a server killed between commit and publish", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  // Committed messages wait in the outbox while the bus is down. The kill ends the relay that would
  // publish them.
  await world.mesh.backends.rabbit.stop();
  await send(1, 101);
  const waiting = await queryLogs(world, "SELECT 1 FROM im.outbox");
  assert.notEqual(waiting.length, 0);
  for (const name of ["server-0", "server-1"]) await world.mesh.process(name).kill("SIGKILL");
  await world.mesh.backends.rabbit.restart();
  await world.mesh.process("server-1").restart();
  await assertAllArrived(b, conversationId, 100);
  await world.mesh.process("server-0").restart();
});

test("no message is lost or duplicated when a server is killed", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  const sending = send(1, MESSAGES + 1);
  await b.until(() => b.texts().length > 20);
  await world.mesh.process("server-0").kill("SIGKILL");
  await sending;
  await assertAllArrived(b, conversationId, MESSAGES);
  await world.mesh.process("server-0").restart();
});

test("clients of a killed connect instance reconnect elsewhere and miss nothing", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  const sending = send(1, MESSAGES + 1);
  await b.until(() => b.texts().length > 20);
  for (const name of ["connect-0", "connect-1"]) await world.mesh.process(name).kill("SIGKILL");
  await sending;
  await assertAllArrived(b, conversationId, MESSAGES);
  for (const name of ["connect-0", "connect-1"]) await world.mesh.process(name).restart();
});

test("no message is lost or duplicated when PostgreSQL restarts", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  const sending = send(1, MESSAGES + 1);
  await b.until(() => b.texts().length > 20);
  await world.mesh.backends.postgres.restart();
  await sending;
  await assertAllArrived(b, conversationId, MESSAGES);
});

test("sessions move from a stopping connect instance and miss nothing", {
  timeout: TIMEOUT,
}, async (t) => {
  const { b, conversationId, send } = await pair(t);
  const sending = send(1, 301);
  await b.until(() => b.texts().length > 20);
  for (const name of ["connect-0", "connect-1", "connect-2"]) {
    await world.mesh.process(name).kill("SIGTERM");
    await world.mesh.process(name).restart();
  }
  await sending;
  await assertAllArrived(b, conversationId, 300);
});

test("a group has exact unread counts and loses no message when connect or server dies with cursors that were not stored", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { group } = await a.client.groups.createGroup({ name: "g", userIds: [ben!.userId] });
  const conversationId = group!.groupId;
  const send = async (from: number, to: number) => {
    for (let n = from; n <= to; n++) await a.client.send({ conversationId }, `${n}`);
  };
  const numbers = (to: number) => Array.from({ length: to }, (_, i) => `${i + 1}`);
  const stateOfBen = async () => {
    const { conversations } = await b.client.messages.sync({});
    return conversations.find((one) => one.conversationId === conversationId)!;
  };
  const instances = (service: string, count: number) =>
    Array.from({ length: count }, (_, i) => world.mesh.process(`${service}-${i}`));

  await send(1, 5);
  await b.until(() => b.texts(conversationId).length === 5);
  for (const connect of instances("connect", 3)) await connect.kill("SIGKILL");
  const sending = send(6, 10);
  for (const connect of instances("connect", 3)) await connect.restart();
  await sending;
  await b.until(() => b.texts(conversationId).length === 10);
  assert.equal((await stateOfBen()).unreadCount, 10n);

  for (const server of instances("server", 2)) await server.kill("SIGKILL");
  b.client.markRead(conversationId, 4n);
  const more = send(11, 12);
  for (const server of instances("server", 2)) await server.restart();
  await more;
  await b.until(() => b.texts(conversationId).length === 12);
  assert.deepEqual(b.texts(conversationId), numbers(12));
  while ((await stateOfBen()).readSequence !== 4n);
  // The first entry is a tip: three of twelve messages are read.
  assert.equal((await stateOfBen()).unreadCount, 9n);

  // A new device without history shows everything that is sent from now on, once.
  const c = await ben!.clientDevice();
  await c.client.connect();
  await send(13, 14);
  await c.until(() => c.texts(conversationId).includes("14"));
  const shown = c.texts(conversationId);
  assert.deepEqual(shown, numbers(14).slice(-shown.length));
  assert.ok(shown.length >= 2);
});
