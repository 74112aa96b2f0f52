import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { AuthService, QrLoginState } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { systemClock } from "#platform/clock.ts";
import { fail, reasonOf } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { forward } from "#platform/rpc/calling/forward.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { fixedTransport, remoteTransport } from "#platform/rpc/calling/remote.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import {
  GATEWAY_SECRET,
  type TestService,
  testService,
  untilAborted,
} from "#platform/rpc/rpc.fixture.ts";
import { serve } from "#platform/rpc/served.ts";
import { listen } from "./listen.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });
const common = { service: "auth", secret: GATEWAY_SECRET, log, clock: systemClock };
const watched = { qrLoginId: "i".repeat(22), secret: "s".repeat(43), deviceId: "d1" };

type Watch = NonNullable<Parameters<typeof testService>[0]>["auth"];
const watching = (watchQrLogin: NonNullable<Watch>["watchQrLogin"]) =>
  testService({ auth: { watchQrLogin } });

async function open(t: TestContext, { served, interceptors, door }: TestService) {
  const checks = { interceptors, door };
  const server = await listen({ host: "127.0.0.1", port: 0, served, ...checks, log });
  t.after(() => server.close());
  return { server, address: `http://127.0.0.1:${server.port}` };
}

/** A front that forwards AuthService, as the gateway does. */
async function front(t: TestContext, behind: TestService, way: "local" | "remote") {
  let transport: Transport;
  if (way === "local") {
    transport = localTransport(behind.served, behind.interceptors, { caller: "gateway" });
  } else {
    const remote = fixedTransport({ ...common, address: (await open(t, behind)).address });
    t.after(() => remote.close());
    transport = remote;
  }
  const checks = serverInterceptors({
    log,
    metrics: new Metrics(),
    clock: systemClock,
    verifier: behind.issuer.verifier,
  });
  const served = [serve(AuthService, forward(AuthService, createClient(AuthService, transport)))];
  return open(t, { ...behind, served, ...checks });
}

async function reasonFor(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => assert.fail("the call was answered"),
    (thrown: unknown) => thrown,
  );
  return ErrorReason[reasonOf(error)];
}

for (const way of ["local", "remote"] as const) {
  test(`streams, ${way}: every protocol receives each answer at once, and the error`, async (t) => {
    const steps: (() => void)[] = [];
    const seen: unknown[] = [];
    const behind = await watching(async function* (_request, { values, requestHeader }) {
      seen.push([values.get(peerAddress), requestHeader.get("x-request-id")]);
      yield { qrLogin: { state: QrLoginState.WAITING } };
      await new Promise<void>((resolve) => steps.push(resolve));
      yield { qrLogin: { state: QrLoginState.SCANNED } };
      throw fail(ErrorReason.QR_LOGIN_EXPIRED, "too late");
    });
    const { address: baseUrl } = await front(t, behind, way);
    for (const transport of [
      createGrpcTransport({ baseUrl }),
      createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
      createConnectTransport({ baseUrl, httpVersion: "1.1" }),
      createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }),
    ]) {
      const headers = { "x-request-id": "r-1", "lucky-peer": "203.0.113.9" };
      const client = createClient(AuthService, transport);
      const answers = client.watchQrLogin(watched, { headers })[Symbol.asyncIterator]();
      assert.equal((await answers.next()).value?.qrLogin?.state, QrLoginState.WAITING);
      const second = answers.next();
      while (steps.length === 0) await new Promise((resolve) => setImmediate(resolve));
      steps.pop()?.();
      assert.equal((await second).value?.qrLogin?.state, QrLoginState.SCANNED);
      assert.equal(await reasonFor(answers.next()), "QR_LOGIN_EXPIRED");
    }
    assert.deepEqual(seen, Array(4).fill(["127.0.0.1", "r-1"]));
  });

  test(`streams, ${way}: when a caller disconnects from the front, the work of the upstream service ends`, async (t) => {
    const ended = Promise.withResolvers<void>();
    const behind = await watching(async function* (_request, { signal }) {
      try {
        yield {};
        await untilAborted(signal);
      } finally {
        ended.resolve();
      }
    });
    const { address: baseUrl } = await front(t, behind, way);
    const client = createClient(
      AuthService,
      createConnectTransport({ baseUrl, httpVersion: "1.1" }),
    );
    const controller = new AbortController();
    const { signal } = controller;
    const answers = client.watchQrLogin(watched, { signal })[Symbol.asyncIterator]();
    await answers.next();
    const gone = answers.next().catch((thrown: unknown) => thrown);
    controller.abort();
    assert.equal(ConnectError.from(await gone).code, Code.Canceled);
    await ended.promise;
  });
}

test("streams: a server that stops ends them at once with UNAVAILABLE", async (t) => {
  const { server, address: baseUrl } = await open(
    t,
    await watching(async function* (_request, { signal }) {
      yield {};
      await untilAborted(signal);
    }),
  );
  const client = createClient(AuthService, createGrpcTransport({ baseUrl }));
  const answers = client.watchQrLogin(watched)[Symbol.asyncIterator]();
  await answers.next();
  const next = reasonFor(answers.next());
  await server.close();
  assert.equal(await next, "UNAVAILABLE");
});

test("streams: undecodable bytes are INVALID_ARGUMENT", async (t) => {
  const { address } = await open(t, await testService());
  const response = await fetch(`${address}/lucky.auth.v1.AuthService/WatchQrLogin`, {
    method: "POST",
    headers: { "content-type": "application/connect+proto", "connect-protocol-version": "1" },
    body: new Uint8Array([0, 0, 0, 0, 2, 0xff, 0xff]),
  });
  const told = await response.text();
  assert.match(told, /"code":"invalid_argument"/);
  assert.match(told, /the request is not a lucky\.auth\.v1\.WatchQrLoginRequest/);
});

test("streams: a stream that cannot start on one instance is retried on another", async (t) => {
  const good = await open(
    t,
    await watching(async function* () {
      yield { qrLogin: { state: QrLoginState.WAITING } };
    }),
  );
  const live = ["http://127.0.0.1:1", good.address].map((address, i) => ({
    instanceId: `auth-${i}`,
    service: "auth",
    address,
    publicAddress: "",
    load: 0,
  }));
  const transport = remoteTransport({ ...common, registry: { instances: async () => live } });
  t.after(() => transport.close());
  const client = createClient(AuthService, transport);
  for (let i = 0; i < 3; i++) {
    const answers = client.watchQrLogin(watched)[Symbol.asyncIterator]();
    assert.equal((await answers.next()).value?.qrLogin?.state, QrLoginState.WAITING);
  }
  live.splice(1, 1);
  const none = client.watchQrLogin(watched)[Symbol.asyncIterator]();
  assert.equal(await reasonFor(none.next()), "UNAVAILABLE");
});

test("streams: a stream continues after its instance leaves the registry, and its connection ends with the stream", async (t) => {
  const step = Promise.withResolvers<void>();
  const { server, address } = await open(
    t,
    await watching(async function* () {
      yield {};
      await step.promise;
      yield {};
    }),
  );
  let live = [{ instanceId: "auth-0", service: "auth", address, publicAddress: "", load: 0 }];
  const transport = remoteTransport({ ...common, registry: { instances: async () => live } });
  t.after(() => transport.close());
  const client = createClient(AuthService, transport);
  const answers = client.watchQrLogin(watched)[Symbol.asyncIterator]();
  await answers.next();
  live = [];
  assert.equal(await reasonFor(client.getJwks({})), "UNAVAILABLE");
  step.resolve();
  assert.equal((await answers.next()).done, false);
  assert.equal((await answers.next()).done, true);
  await server.close();
});

test("streams: a stream with a lost connection ends with UNAVAILABLE", async (t) => {
  const { address } = await open(
    t,
    await watching(async function* (_request, { signal }) {
      yield {};
      await untilAborted(signal);
    }),
  );
  const transport = fixedTransport({ ...common, address });
  const client = createClient(AuthService, transport);
  const answers = client.watchQrLogin(watched)[Symbol.asyncIterator]();
  await answers.next();
  const next = reasonFor(answers.next());
  transport.close();
  assert.equal(await next, "UNAVAILABLE");
});
