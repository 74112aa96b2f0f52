import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { toBinary } from "@bufbuild/protobuf";
import { DeviceClass, type Tokens } from "../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Entry } from "../gen/lucky/message/v1/entry_pb.js";
import { MessageService, SendRequestSchema } from "../gen/lucky/message/v1/message_pb.js";
import { resetLog } from "../platform/backup/reset-log.ts";
import { startWorld } from "../test/world/world.ts";
import { LuckyClient } from "./client.ts";
import type { ClientOptions } from "./client-options.ts";
import { reasonOf } from "./error.ts";
import { sendRequest } from "./sending/send-request.ts";
import { MemoryStore } from "./store.ts";

const TIMEOUT = 60_000;
const PASSWORD = "correct horse battery staple";
const world = await startWorld({ after });
const clients: LuckyClient[] = [];
after(() => Promise.all(clients.map((client) => client.close())));

function device(options: Partial<ClientOptions> = {}): LuckyClient {
  const client = new LuckyClient({
    url: world.url,
    device: { deviceId: randomUUID(), deviceClass: DeviceClass.WEB },
    ...options,
  });
  clients.push(client);
  return client;
}

/** A registered user, logged in on one device. */
async function register(name: string, options: Partial<ClientOptions> = {}) {
  const userName = `${name}-${randomUUID().slice(0, 8)}`;
  const client = device(options);
  await client.register(userName, PASSWORD);
  await client.login(userName, PASSWORD);
  return { userName, client };
}

/** Records texts; `until` waits for `count` of them. */
function texts(client: LuckyClient) {
  const seen: string[] = [];
  client.on("message", (entry) => seen.push(textOf(entry)));
  const until = async (count: number) => {
    while (seen.length < count) await client.next("message");
  };
  return { seen, until };
}

function textOf(entry: Entry): string {
  const kind = entry.content?.kind;
  return kind?.case === "text" ? kind.value.text : "";
}

test("methods can be called over the session, and fail with their reason", {
  timeout: TIMEOUT,
}, async () => {
  const { client } = await register("ana");
  const ben = await register("ben");
  await client.connect();
  const { conversationId } = await client.send({ userId: ben.client.userId }, "hi");
  const position = { case: "afterSequence", value: 0n } as const;
  const listEntries = MessageService.method.listEntries;
  const page = await client.callOverSocket(listEntries, { conversationId, position });
  assert.deepEqual(page.entries.map(textOf), ["hi"]);
  const foreign = client.callOverSocket(listEntries, { conversationId: "1", position });
  await assert.rejects(foreign, (error) => {
    return reasonOf(error) === ErrorReason.CONVERSATION_NOT_FOUND;
  });
});

test("a send over RPC is a message event on other clients, but not on its own", {
  timeout: TIMEOUT,
}, async () => {
  const { client, userName } = await register("ana");
  const tablet = device();
  await tablet.login(userName, PASSWORD);
  const ben = await register("ben");
  await Promise.all([client.connect(), tablet.connect(), ben.client.connect()]);
  const [own, other, peer] = [texts(client), texts(tablet), texts(ben.client)];
  await client.sendByRpc({ userId: ben.client.userId }, "one");
  await Promise.all([peer.until(1), other.until(1)]);
  await ben.client.send({ userId: client.userId }, "two");
  await Promise.all([own.until(1), other.until(2)]);
  assert.deepEqual(own.seen, ["two"]);
  assert.deepEqual(other.seen, ["one", "two"]);
});

test("a client that restarts with its tokens and its store misses no message", {
  timeout: TIMEOUT,
}, async () => {
  const store = new MemoryStore();
  const ana = await register("ana");
  const ben = await register("ben", { store });
  await Promise.all([ana.client.connect(), ben.client.connect()]);
  const first = texts(ben.client);
  const target = { userId: ben.client.userId };
  await ana.client.send(target, "1");
  await first.until(1);
  await ben.client.close();
  await ana.client.send(target, "2");
  await ana.client.send(target, "3");

  const later = device({ store });
  later.resume(ben.client.tokens as Tokens);
  const second = texts(later);
  await later.connect();
  await later.caughtUp();
  await second.until(2);
  assert.deepEqual(second.seen, ["2", "3"]);
  assert.equal(later.userId, ben.client.userId);
});

test("a send that a crash left in the store is retried by the next run", {
  timeout: TIMEOUT,
}, async () => {
  const store = new MemoryStore();
  const ben = await register("ben");
  const request = sendRequest({ userId: ben.client.userId }, "late", {
    clientMessageId: "left-behind",
  });
  store.putSend({
    clientMessageId: "left-behind",
    target: `u:${ben.client.userId}`,
    request: toBinary(SendRequestSchema, request),
  });
  const { client } = await register("ana", { store });
  const settled = client.next("settled");
  await client.connect();
  const outcome = await settled;
  assert.equal(outcome.kind, "accepted");
  assert.deepEqual((await store.load()).sends, []);
});

/** A WebSocket whose server refuses every connection. */
class Unreachable extends EventTarget {
  readonly OPEN = 1;
  readyState = 0;
  constructor() {
    super();
    queueMicrotask(() => this.dispatchEvent(new Event("error")));
  }
  close(): void {}
}

test("sends queued offline survive an orderly close with a store, but not a logout", {
  timeout: TIMEOUT,
}, async () => {
  const ben = await register("ben");
  await ben.client.connect();
  const seen = texts(ben.client);
  const target = { userId: ben.client.userId };
  const store = new MemoryStore();
  const webSocket = Unreachable as unknown as typeof WebSocket;
  const { client } = await register("ana", { store, webSocket });
  const queue = async (offline: LuckyClient, text: string) => {
    const waiting = offline.next("state", ({ kind }) => kind === "waiting");
    offline.connect().catch(() => {});
    await waiting;
    const sent = offline.send(target, text);
    sent.catch(() => {});
    return sent;
  };
  const first = assert.rejects(queue(client, "1"), /stays in the store and is sent later/);
  while ((await store.load()).sends.length < 1) await turn();
  await client.close();
  await first;
  // The same client, offline again: it still has the first send.
  const second = assert.rejects(queue(client, "2"), /stays in the store/);
  while ((await store.load()).sends.length < 2) await turn();
  await client.close();
  await second;
  const later = device({ store });
  later.resume(client.tokens!);
  await later.connect();
  await seen.until(2);
  assert.deepEqual(seen.seen, ["1", "2"]);
  await later.close();

  const third = assert.rejects(queue(client, "3"));
  while ((await store.load()).sends.length < 1) await turn();
  await client.logout();
  await third;
  assert.deepEqual((await store.load()).sends, []);
});

test("a new session of the device replaces the old one, which does not reconnect", {
  timeout: TIMEOUT,
}, async () => {
  const { client } = await register("ana", {
    device: { deviceId: "phone", deviceClass: DeviceClass.MOBILE },
  });
  await client.connect();
  const kicked = client.next("kicked");
  const closed = client.next("state", (state) => state.kind === "closed");
  const again = device({ device: { deviceId: "phone", deviceClass: DeviceClass.MOBILE } });
  again.resume(client.tokens!);
  await again.connect();
  assert.equal((await kicked).code, CloseCode.REPLACED);
  assert.deepEqual(await closed, { kind: "closed", reason: "replaced" });
  await assert.rejects(client.send({ userId: again.userId }, "hi"), /replaced this one/);
});

test("a new login of the device ends the old one, and its session", {
  timeout: TIMEOUT,
}, async () => {
  const { client, userName } = await register("ana", {
    device: { deviceId: "phone", deviceClass: DeviceClass.MOBILE },
  });
  await client.connect();
  const closed = client.next("state", (state) => state.kind === "closed");
  const again = device({ device: { deviceId: "phone", deviceClass: DeviceClass.MOBILE } });
  await again.login(userName, PASSWORD);
  assert.deepEqual(await closed, { kind: "closed", reason: "login-over" });
});

test("a login that is over ends the session and refuses a new one", {
  timeout: TIMEOUT,
}, async () => {
  const { client } = await register("ana");
  await client.connect();
  const closed = client.next("state", (state) => state.kind === "closed");
  await client.auth.logout({});
  assert.deepEqual(await closed, { kind: "closed", reason: "login-over" });
  await assert.rejects(client.connect(), (error) => {
    return reasonOf(error) === ErrorReason.TOKEN_REVOKED;
  });
});

test("a registration whose answers are lost is retried, and creates one account", {
  timeout: TIMEOUT,
}, async (t) => {
  const { fetch } = globalThis;
  const losses = [
    () => Promise.reject(new TypeError("fetch failed")),
    async () => new Response(null, { status: 504 }),
  ];
  t.mock.method(globalThis, "fetch", async (...call: Parameters<typeof fetch>) => {
    const answer = await fetch(...call);
    return String(call[0]).endsWith("/Register") ? (losses.shift()?.() ?? answer) : answer;
  });
  const client = device();
  const userName = `ana-${randomUUID().slice(0, 8)}`;
  const { userId } = await client.register(userName, PASSWORD, "Ana");
  assert.equal(losses.length, 0);
  assert.equal((await client.login(userName, PASSWORD)).userId, userId);
});

test("a wrong password and a taken name are refused with their reasons", {
  timeout: TIMEOUT,
}, async () => {
  const { client, userName } = await register("ana");
  await assert.rejects(client.login(userName, "another password"), (error) => {
    return reasonOf(error) === ErrorReason.CREDENTIALS_INVALID;
  });
  await assert.rejects(client.register(userName, PASSWORD), (error) => {
    return reasonOf(error) === ErrorReason.USER_NAME_TAKEN;
  });
});

/** Makes the log what it is after a backup was restored that lacks the entries from a sequence on. */
async function restoreWithout(conversationId: string, fromSequence: number): Promise<void> {
  const connection = await world.pool.connect();
  const lost = [conversationId, fromSequence - 1];
  for (const [statement, values] of [
    ["BEGIN", []],
    ["DELETE FROM im.entry WHERE conversation_id = $1 AND sequence > $2", lost],
    [
      "UPDATE im.conversation SET last_sequence = $2, last_countable = $2 WHERE conversation_id = $1",
      lost,
    ],
    [
      `UPDATE im.member SET delivered_sequence = least(delivered_sequence, $2::bigint),
                            read_sequence = least(read_sequence, $2::bigint)
        WHERE conversation_id = $1`,
      lost,
    ],
    ["DELETE FROM im.outbox", []],
  ] as const)
    await connection.query(statement, [...values]);
  await resetLog(connection as unknown as Parameters<typeof resetLog>[0]);
  await connection.query("COMMIT");
  connection.release();
}

test("after a backup without two messages was restored, a device shows all that there is, nothing twice", {
  timeout: TIMEOUT,
}, async () => {
  const store = new MemoryStore();
  const ana = await register("ana");
  const ben = await register("ben", { store });
  await Promise.all([ana.client.connect(), ben.client.connect()]);
  const before = texts(ben.client);
  const target = { userId: ben.client.userId };
  const { conversationId } = await ana.client.send(target, "kept");
  for (const text of ["lost 1", "lost 2"]) await ana.client.send(target, text);
  await before.until(3);
  ben.client.markRead(conversationId, 3n);
  await ben.client.close();

  await restoreWithout(conversationId, 2);
  assert.equal((await ana.client.send(target, "new")).sequence, 2n);
  const later = device({ store });
  later.resume(ben.client.tokens!);
  const shown = ["kept", "lost 1", "lost 2"];
  later.on("logReset", () => shown.splice(0));
  later.on("message", (entry) => shown.push(textOf(entry)));
  await later.connect();
  await later.caughtUp();
  assert.deepEqual(shown, ["kept", "new"]);
  const arrived = later.next("message");
  await ana.client.send(target, "newer");
  assert.equal((await arrived).sequence, 3n);
  assert.deepEqual(shown, ["kept", "new", "newer"]);
  const { positions } = await store.load();
  assert.equal(positions.get(conversationId)?.sequence, 3n);
});
