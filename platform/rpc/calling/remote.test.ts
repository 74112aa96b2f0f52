import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { createClient, createContextValues } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { systemClock } from "#platform/clock.ts";
import { fail, reasonOf } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import type { Instance } from "#platform/registry/registry.ts";
import {
  SERVER_SECRET,
  type TestService,
  testCallers,
  testService,
  untilAborted,
} from "#platform/rpc/rpc.fixture.ts";
import { type ListenOptions, listen } from "#platform/rpc/serving/listen.ts";
import { transportSuite } from "#platform/rpc/transport/transport.suite.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { fixedTransport, remoteTransport } from "./remote.ts";
import { routeKey } from "./rendezvous.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });
const common = { service: "auth", secret: SERVER_SECRET, log, clock: systemClock };

type OpenOptions = Partial<Pick<ListenOptions, "port" | "mesh">>;

async function open(
  t: TestContext,
  { served, interceptors }: TestService,
  options: OpenOptions = {},
) {
  const fixed = { host: "127.0.0.1", port: 0, served, interceptors, log, graceMs: 100 };
  const server = await listen({ ...fixed, ...options });
  t.after(() => server.close());
  return server;
}

transportSuite("remote", async (t, service) => {
  const { port } = await open(t, service);
  const transport = fixedTransport({ ...common, address: `http://127.0.0.1:${port}` });
  t.after(() => transport.close());
  return transport;
});

transportSuite("lean", async (t, service) => {
  const { port } = await open(t, service, { mesh: testCallers });
  const transport = fixedTransport({ ...common, address: `http://127.0.0.1:${port}`, lean: true });
  t.after(() => transport.close());
  return transport;
});

/** Instances of auth that answer with their ids, and a registry of them. */
async function instances(t: TestContext, count: number) {
  const live: Instance[] = [];
  const servers = [];
  for (let i = 0; i < count; i++) {
    const instanceId = `auth-${i}`;
    const server = await open(
      t,
      await testService({ auth: { getJwks: () => ({ jwksJson: instanceId }) } }),
    );
    servers.push(server);
    const address = `http://127.0.0.1:${server.port}`;
    live.push({ instanceId, service: "auth", address, publicAddress: "", load: 0 });
  }
  const transport = remoteTransport({ ...common, registry: { instances: async () => live } });
  t.after(() => transport.close());
  const client = createClient(AuthService, transport);
  return {
    live,
    servers,
    async ask(key?: string): Promise<string> {
      const contextValues = createContextValues().set(routeKey, key);
      return (await client.getJwks({}, { contextValues })).jwksJson;
    },
  };
}

async function reasonFor(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => assert.fail("the call was answered"),
    (thrown: unknown) => thrown,
  );
  return ErrorReason[reasonOf(error)];
}

test("remote: calls without a route key go round robin", async (t) => {
  const { ask } = await instances(t, 3);
  const answers = [await ask(), await ask(), await ask(), await ask(), await ask(), await ask()];
  assert.deepEqual([...answers].sort(), [
    "auth-0",
    "auth-0",
    "auth-1",
    "auth-1",
    "auth-2",
    "auth-2",
  ]);
});

test("remote: a route key stays with its instance, and moves only when the instance leaves", async (t) => {
  const { live, ask } = await instances(t, 3);
  const keys = Array.from({ length: 30 }, (_, i) => `key-${i}`);
  const before = new Map<string, string>();
  for (const key of keys) before.set(key, await ask(key));
  assert.equal(new Set(before.values()).size, 3);
  for (const key of keys) assert.equal(await ask(key), before.get(key));
  live.splice(1, 1);
  for (const key of keys) {
    const now = await ask(key);
    if (before.get(key) === "auth-1") assert.notEqual(now, "auth-1");
    else assert.equal(now, before.get(key));
  }
});

test("remote: a call that cannot be sent is retried on another instance", async (t) => {
  const { servers, ask } = await instances(t, 3);
  await servers[0]?.close();
  await servers[2]?.close();
  for (let i = 0; i < 6; i++) assert.equal(await ask(), "auth-1");
  assert.equal(await ask("any"), "auth-1");
});

test("remote: an instance that restarts at its address is called again", async (t) => {
  const { servers, live, ask } = await instances(t, 1);
  assert.equal(await ask(), "auth-0");
  const port = Number(new URL(live[0]?.address ?? "").port);
  await servers[0]?.close();
  assert.equal(await reasonFor(ask()), "UNAVAILABLE");
  await open(t, await testService({ auth: { getJwks: () => ({ jwksJson: "again" }) } }), { port });
  assert.equal(await ask(), "again");
});

test("remote: without a live instance, and after close, calls are UNAVAILABLE", async (t) => {
  const none = remoteTransport({ ...common, registry: { instances: async () => [] } });
  assert.equal(await reasonFor(createClient(AuthService, none).getJwks({})), "UNAVAILABLE");
  const { port } = await open(t, await testService({ auth: { getJwks: () => ({}) } }));
  const some = fixedTransport({ ...common, address: `http://127.0.0.1:${port}` });
  const client = createClient(AuthService, some);
  await client.getJwks({});
  some.close();
  assert.equal(await reasonFor(client.getJwks({})), "UNAVAILABLE");
});

/** An instance that resets all its connections when a call arrives. */
async function breaker(t: TestContext): Promise<{ address: string; broken: () => number }> {
  let broken = 0;
  const sockets = new Set<Socket>();
  function cut(signal: AbortSignal): Promise<never> {
    broken++;
    for (const socket of sockets) socket.resetAndDestroy();
    return untilAborted(signal);
  }
  const inner = await open(
    t,
    await testService({
      auth: {
        getJwks: (_request, { signal }) => cut(signal),
        getQrLogin: (_request, { signal }) => cut(signal),
        async *watchQrLogin(_request, { signal }) {
          yield await cut(signal);
        },
        refresh: (_request, { signal }) => cut(signal),
      },
      session: {
        checkUsers: (_request, { signal }) => cut(signal),
      },
    }),
  );
  const server = createServer((socket) => {
    const onward = connect(inner.port, "127.0.0.1");
    sockets.add(socket);
    for (const one of [socket, onward]) one.on("error", () => {});
    socket.once("close", () => {
      sockets.delete(socket);
      onward.destroy();
    });
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  return { address: `http://127.0.0.1:${port}`, broken: () => broken };
}

test("remote: when the connection breaks, an idempotent or internal call is retried once, no other one is", async (t) => {
  const { address, broken } = await breaker(t);
  const transport = fixedTransport({ ...common, address });
  t.after(() => transport.close());
  const auth = createClient(AuthService, transport);
  assert.equal(await reasonFor(auth.refresh({ refreshToken: "x".repeat(16) })), "UNAVAILABLE");
  assert.equal(broken(), 1);
  assert.equal(
    await reasonFor(createClient(SessionService, transport).checkUsers({})),
    "UNAVAILABLE",
  );
  assert.equal(broken(), 3);
  assert.equal(await reasonFor(auth.getJwks({})), "UNAVAILABLE");
  assert.equal(broken(), 5);
});

test("remote: a read that returns tokens once is not retried when the connection breaks", async (t) => {
  const { address, broken } = await breaker(t);
  const transport = fixedTransport({ ...common, address });
  t.after(() => transport.close());
  const auth = createClient(AuthService, transport);
  const qrLogin = { qrLoginId: "q".repeat(22), secret: "s".repeat(43), deviceId: "desk" };
  assert.equal(await reasonFor(auth.getQrLogin(qrLogin)), "UNAVAILABLE");
  assert.equal(broken(), 1);
  const watch = auth.watchQrLogin(qrLogin)[Symbol.asyncIterator]();
  assert.equal(await reasonFor(watch.next()), "UNAVAILABLE");
  assert.equal(broken(), 2);
});

test("remote: an internal call whose connection broke is retried on another instance", async (t) => {
  const { address } = await breaker(t);
  const good = await open(
    t,
    await testService({ session: { checkUsers: () => ({ userIds: ["7"] }) } }),
  );
  const live = [address, `http://127.0.0.1:${good.port}`].map((at, i) => ({
    instanceId: `auth-${i}`,
    service: "auth",
    address: at,
    publicAddress: "",
    load: 0,
  }));
  const transport = remoteTransport({ ...common, registry: { instances: async () => live } });
  t.after(() => transport.close());
  const client = createClient(SessionService, transport);
  for (let i = 0; i < 4; i++) assert.deepEqual((await client.checkUsers({})).userIds, ["7"]);
});

/** Two instances, and a clock moved by the test. The test implements CheckUsers of the first one. */
async function firstOfTwo(t: TestContext, checkUsers: (clock: ManualClock) => Promise<object>) {
  const clock = new ManualClock();
  const live: Instance[] = [];
  for (const [i, check] of [() => checkUsers(clock), async () => ({ userIds: ["1"] })].entries()) {
    const { port } = await open(t, await testService({ session: { checkUsers: check } }));
    const address = `http://127.0.0.1:${port}`;
    live.push({ instanceId: `auth-${i}`, service: "auth", address, publicAddress: "", load: 0 });
  }
  const registry = { instances: async () => live };
  const transport = remoteTransport({ ...common, clock, registry });
  t.after(() => transport.close());
  const client = createClient(SessionService, transport);
  const keys = Array.from({ length: 64 }, (_, i) => `key-${i}`);
  return {
    clock,
    /** Calls once with each key. Counts the answers by instance, and the errors by reason. */
    async ask(timeoutMs = 10_000): Promise<Record<string, number>> {
      const answers: Record<string, number> = {};
      for (const key of keys) {
        const contextValues = createContextValues().set(routeKey, key);
        const answer = await client.checkUsers({}, { contextValues, timeoutMs }).then(
          ({ userIds }) => userIds.join(),
          (error: unknown) => ErrorReason[reasonOf(error)],
        );
        answers[answer] = (answers[answer] ?? 0) + 1;
      }
      return answers;
    },
  };
}

test("remote: an instance that cannot serve is ejected for all keys until its back-off has passed", async (t) => {
  let away = true;
  const { clock, ask } = await firstOfTwo(t, async () => {
    if (away) throw fail(ErrorReason.UNAVAILABLE, "the database cannot be reached");
    return { userIds: ["0"] };
  });
  assert.deepEqual(await ask(), { UNAVAILABLE: 1, 1: 63 });
  clock.advance(1_000);
  assert.deepEqual(await ask(), { UNAVAILABLE: 1, 1: 63 });
  away = false;
  assert.deepEqual(await ask(), { 1: 64 });
  clock.advance(1_000);
  const { 0: first, 1: second } = await ask();
  assert.ok(first! > 16 && second! > 16, `${first} and ${second}`);
});

test("remote: the back-off of an ejected instance grows with the duration of the failed call, up to ten seconds", async (t) => {
  const { clock, ask } = await firstOfTwo(t, async (hand) => {
    hand.advance(5_000);
    throw fail(ErrorReason.UNAVAILABLE, "the database cannot be reached");
  });
  assert.deepEqual(await ask(), { UNAVAILABLE: 1, 1: 63 });
  clock.advance(9_999);
  assert.deepEqual(await ask(), { 1: 64 });
  clock.advance(1);
  assert.deepEqual(await ask(), { UNAVAILABLE: 1, 1: 63 });
});

test("remote: an instance that exceeds a deadline is ejected", async (t) => {
  const { ask } = await firstOfTwo(t, () => new Promise(() => {}));
  assert.deepEqual(await ask(1_000), { UNSPECIFIED: 1, 1: 63 });
});

test("remote: an instance that leaves the registry finishes its calls, then its connection is closed", async (t) => {
  const began = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<object>();
  const service = await testService({
    auth: {
      getJwks() {
        began.resolve();
        return answer.promise;
      },
    },
  });
  const server = await open(t, service);
  const address = `http://127.0.0.1:${server.port}`;
  let live = [{ instanceId: "auth-0", service: "auth", address, publicAddress: "", load: 0 }];
  const transport = remoteTransport({ ...common, registry: { instances: async () => live } });
  t.after(() => transport.close());
  const client = createClient(AuthService, transport);
  const call = client.getJwks({});
  await began.promise;
  live = [];
  assert.equal(await reasonFor(client.getJwks({})), "UNAVAILABLE");
  answer.resolve({ jwksJson: "done" });
  assert.equal((await call).jwksJson, "done");
  // The last connection has ended: close does not wait for the grace.
  await server.close();
});
