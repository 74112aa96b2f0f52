import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { systemClock } from "#platform/clock.ts";
import { detailOf, fail, reasonOf } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import {
  GATEWAY_SECRET,
  SERVER_SECRET,
  type TestService,
  testService,
  untilAborted,
} from "#platform/rpc/rpc.fixture.ts";
import { serve } from "#platform/rpc/served.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import { forward } from "./forward.ts";
import { localTransport } from "./local.ts";
import { fixedTransport } from "./remote.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });

type Behind = (t: TestContext, service: TestService) => Promise<Transport>;

/** Transports from a forwarding front to its upstream service. */
const ways: Record<string, Behind> = {
  local: async (_t, { served, interceptors }) =>
    localTransport(served, interceptors, { caller: "gateway" }),
  remote: async (t, { served, interceptors }) => {
    const server = await listen({ host: "127.0.0.1", port: 0, served, interceptors, log });
    const address = `http://127.0.0.1:${server.port}`;
    const transport = fixedTransport({
      address,
      service: "auth",
      secret: GATEWAY_SECRET,
      log,
      clock: systemClock,
    });
    t.after(() => transport.close());
    t.after(() => server.close());
    return transport;
  },
};

/**
 * A front that forwards AuthService and UserService, as the gateway does, to an upstream service.
 */
async function front(t: TestContext, behind: TestService, way: Behind) {
  const transport = await way(t, behind);
  const checks = serverInterceptors({
    log,
    metrics: new Metrics(),
    clock: systemClock,
    verifier: behind.issuer.verifier,
  });
  const served = [
    serve(AuthService, forward(AuthService, createClient(AuthService, transport))),
    serve(UserService, forward(UserService, createClient(UserService, transport))),
    // A gateway does not forward internal services. Even if it did, their calls would be refused.
    serve(SessionService, forward(SessionService, createClient(SessionService, transport))),
  ];
  const server = await listen({ host: "127.0.0.1", port: 0, served, ...checks, log });
  t.after(() => server.close());
  return `http://127.0.0.1:${server.port}`;
}

for (const [name, way] of Object.entries(ways)) {
  test(`forward, ${name}: identity, request id and deadline are forwarded, other headers are not`, async (t) => {
    const seen: unknown[] = [];
    const behind = await testService({
      user: {
        batchGetUsers(_request, context) {
          const { requestHeader } = context;
          seen.push({
            userId: userOf(context).userId,
            requestId: requestHeader.get("x-request-id"),
            other: requestHeader.get("x-other"),
            trace: requestHeader.get("traceparent"),
            hurry: (context.timeoutMs() ?? Number.POSITIVE_INFINITY) <= 3_000,
          });
          return { users: [{ userId: "1", userName: "ana" }] };
        },
      },
    });
    const baseUrl = await front(t, behind, way);
    const client = createClient(UserService, createGrpcTransport({ baseUrl }));
    const { headers } = await behind.authorized();
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const sent = { "x-request-id": "r-7", "x-other": "o", traceparent };
    const { users } = await client.batchGetUsers(
      { userIds: ["1"] },
      { headers: { ...headers, ...sent }, timeoutMs: 3_000 },
    );
    assert.equal(users[0]?.userName, "ana");
    assert.deepEqual(seen, [
      { userId: "1", requestId: "r-7", other: null, trace: null, hurry: true },
    ]);
  });

  test(`forward, ${name}: errors keep their reason over every protocol`, async (t) => {
    const behind = await testService({
      auth: {
        getPublicKey() {
          throw fail(ErrorReason.RATE_LIMITED, "später", { retryAfterMs: 9 });
        },
        getJwks() {
          throw new Error("hunter2");
        },
      },
    });
    const baseUrl = await front(t, behind, way);
    for (const transport of [
      createGrpcTransport({ baseUrl }),
      createConnectTransport({ baseUrl, httpVersion: "1.1" }),
    ]) {
      const client = createClient(AuthService, transport);
      const known = await client.getPublicKey({}).catch((thrown: unknown) => thrown);
      assert.equal(ConnectError.from(known).rawMessage, "später");
      assert.equal(detailOf(known)?.reason, ErrorReason.RATE_LIMITED);
      assert.equal(detailOf(known)?.retryAfterMs, 9n);
      const unknown = await client.getJwks({}).catch((thrown: unknown) => thrown);
      assert.equal(ConnectError.from(unknown).rawMessage, "internal error");
      assert.equal(reasonOf(unknown), ErrorReason.INTERNAL);
    }
  });

  test(`forward, ${name}: an aborted call, or one past its deadline, ends the work of the upstream service`, async (t) => {
    const began: (() => void)[] = [];
    const ended: Promise<unknown>[] = [];
    const behind = await testService({
      auth: {
        getJwks(_request, { signal }) {
          const work = untilAborted(signal);
          ended.push(work.catch(() => {}));
          for (const tell of began) tell();
          return work;
        },
      },
    });
    const baseUrl = await front(t, behind, way);
    const client = createClient(AuthService, createGrpcTransport({ baseUrl }));
    const late = await client.getJwks({}, { timeoutMs: 100 }).catch((thrown: unknown) => thrown);
    assert.equal(ConnectError.from(late).code, Code.DeadlineExceeded);
    const controller = new AbortController();
    const arrived = new Promise<void>((resolve) => began.push(resolve));
    const call = client.getJwks({}, { signal: controller.signal });
    const gone = call.catch((thrown: unknown) => thrown);
    await arrived;
    controller.abort();
    assert.equal(ConnectError.from(await gone).code, Code.Canceled);
    await Promise.all(ended);
  });

  test(`forward, ${name}: the front refuses internal methods, even with the secret of a service`, async (t) => {
    const behind = await testService({ session: { checkUsers: () => ({}) } });
    const baseUrl = await front(t, behind, way);
    const client = createClient(SessionService, createGrpcTransport({ baseUrl }));
    const headers = { "lucky-mesh": SERVER_SECRET };
    const error = await client.checkUsers({}, { headers }).catch((thrown: unknown) => thrown);
    assert.equal(reasonOf(error), ErrorReason.PERMISSION_DENIED);
  });
}

test("forward: a service that cannot be reached is UNAVAILABLE", async (t) => {
  const behind = await testService();
  const baseUrl = await front(t, behind, async (_t) =>
    fixedTransport({
      address: "http://127.0.0.1:1",
      service: "auth",
      secret: GATEWAY_SECRET,
      log,
      clock: systemClock,
    }),
  );
  const client = createClient(AuthService, createGrpcTransport({ baseUrl }));
  const error = await client.getJwks({}).catch((thrown: unknown) => thrown);
  assert.equal(reasonOf(error), ErrorReason.UNAVAILABLE);
  assert.equal(ConnectError.from(error).code, Code.Unavailable);
});
