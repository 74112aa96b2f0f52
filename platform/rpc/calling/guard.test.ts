import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { detailOf, fail, reasonOf } from "#platform/errors.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import type { Instance } from "#platform/registry/registry.ts";
import {
  SERVER_SECRET,
  type TestServiceOptions,
  testCallers,
  testService,
  untilAborted,
} from "#platform/rpc/rpc.fixture.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { TICK_MS } from "./breaker.ts";
import { remoteTransport } from "./remote.ts";

/** A request that is not a read. */
const REFRESH = { refreshToken: "x".repeat(16) };

/** An instance of auth: its methods, and whether it says that it cannot serve. */
type Callee = TestServiceOptions & { readonly impaired?: () => boolean };

/** Calls instances over lean links, with a clock that the test moves. */
async function setUp(t: TestContext, callees: readonly Callee[], maxUserCalls?: number) {
  const { log, lines } = keptLog();
  const clock = new ManualClock();
  const metrics = new Metrics();
  const live: Instance[] = [];
  const servers = [];
  for (const { impaired, ...methods } of callees) {
    const { served, interceptors } = await testService(methods);
    const server = await listen({
      host: "127.0.0.1",
      port: 0,
      served,
      interceptors,
      log,
      graceMs: 100,
      mesh: testCallers,
      impaired,
    });
    t.after(() => server.close());
    servers.push(server);
    const instanceId = `auth-${live.length}`;
    const address = `http://127.0.0.1:${server.port}`;
    live.push({ instanceId, service: "auth", address, publicAddress: "", load: 0 });
  }
  const transport = remoteTransport({
    service: "auth",
    secret: SERVER_SECRET,
    log,
    metrics,
    clock,
    lean: true,
    ...(maxUserCalls !== undefined && { maxUserCalls }),
    registry: { instances: async () => live },
  });
  t.after(() => transport.close());
  return {
    clock,
    lines,
    servers,
    auth: createClient(AuthService, transport),
    session: createClient(SessionService, transport),
    /** The value of a metric with labels, such as 'name{a="b"}'. */
    async shown(series: string): Promise<number> {
      const line = (await metrics.text()).split("\n").find((one) => one.startsWith(`${series} `));
      return Number(line?.slice(series.length) ?? 0);
    },
  };
}

const reasonFor = (call: Promise<unknown>) =>
  call.then(
    () => "answered",
    (error: unknown) => ErrorReason[reasonOf(error)],
  );

test("after five failed calls, a service that is down gets no calls except probes", async (t) => {
  let calls = 0;
  const getJwks = () => {
    calls += 1;
    return { jwksJson: "{}" };
  };
  const { auth, servers, clock, shown } = await setUp(t, [{ auth: { getJwks } }]);
  assert.equal(await reasonFor(auth.getJwks({})), "answered");
  await servers[0]!.close();
  for (let i = 0; i < 5; i++) assert.equal(await reasonFor(auth.getJwks({})), "UNAVAILABLE");
  assert.equal(await shown('lucky_rpc_breakers{upstream="auth",state="open"}'), 1);
  const refusal = await auth.getJwks({}).catch(detailOf);
  assert.equal((refusal as { retryAfterMs: bigint }).retryAfterMs, 500n);
  assert.equal(await shown('lucky_rpc_calls_refused_total{upstream="auth",reason="breaker"}'), 1);
  clock.advance(500);
  assert.equal(await reasonFor(auth.getJwks({})), "UNAVAILABLE");
  assert.equal(await shown('lucky_rpc_breaker_opened_total{upstream="auth"}'), 1);
  assert.equal(calls, 1);
});

test("a service that hangs gets no calls after three seconds, until it answers", async (t) => {
  const waiting: (() => void)[] = [];
  const checkUsers = () =>
    new Promise<{ userIds: string[] }>((resolve) => {
      waiting.push(() => resolve({ userIds: [] }));
    });
  const { session, auth, clock, lines } = await setUp(t, [
    { session: { checkUsers }, auth: { getJwks: () => ({ jwksJson: "{}" }) } },
  ]);
  const hanging = session.checkUsers({});
  while (waiting.length === 0) await new Promise(setImmediate);
  clock.advance(TICK_MS * 7);
  assert.equal(await reasonFor(auth.getJwks({})), "UNAVAILABLE");
  waiting[0]!();
  await hanging;
  assert.equal(await reasonFor(auth.getJwks({})), "answered");
  assert.deepEqual(
    lines.map(({ event, upstream, instance }) => [event, upstream, instance]),
    [
      ["breaker_opened", "auth", "auth-0"],
      ["breaker_closed", "auth", "auth-0"],
    ],
  );
});

test("calls that users abort do not open the breaker", async (t) => {
  const { auth, session } = await setUp(t, [
    {
      auth: { getJwks: (_request, { signal }) => untilAborted(signal) },
      session: { checkUsers: () => ({ userIds: [] }) },
    },
  ]);
  const controller = new AbortController();
  const calls = Array.from({ length: 50 }, () => auth.getJwks({}, { signal: controller.signal }));
  controller.abort();
  await Promise.allSettled(calls);
  assert.equal(await reasonFor(session.checkUsers({})), "answered");
});

test("calls of users that end early neither open a breaker nor use up its probes", async (t) => {
  let served = 0;
  const callee = {
    auth: {
      getJwks: (_request: unknown, { signal }: { signal: AbortSignal }) => {
        served += 1;
        return untilAborted(signal);
      },
    },
    session: { checkUsers: () => ({ userIds: [] }) },
  };
  const { auth, session, servers, clock, shown } = await setUp(t, [callee]);
  assert.equal(await reasonFor(session.checkUsers({})), "answered");
  // At each of 20 ticks, a call is in flight that its user aborts then.
  for (let i = 1; i <= 20; i++) {
    const controller = new AbortController();
    const call = reasonFor(auth.getJwks({}, { signal: controller.signal }));
    while (served < i) await new Promise(setImmediate);
    clock.advance(TICK_MS);
    controller.abort();
    await call;
  }
  assert.equal(await shown('lucky_rpc_breaker_opened_total{upstream="auth"}'), 0);
  await servers[0]!.close();
  for (let i = 0; i < 5; i++) assert.equal(await reasonFor(session.checkUsers({})), "UNAVAILABLE");
  clock.advance(500);
  const refused = () => shown('lucky_rpc_calls_refused_total{upstream="auth",reason="breaker"}');
  const before = await refused();
  for (let i = 0; i < 3; i++) {
    const error = await auth.getJwks({}, { timeoutMs: 1 }).catch(detailOf);
    assert.equal((error as { retryAfterMs: bigint }).retryAfterMs, 1_000n);
  }
  assert.equal(await refused(), before + 3);
  assert.equal(await reasonFor(auth.getJwks({}, { timeoutMs: 1_000 })), "UNAVAILABLE");
  assert.equal(await refused(), before + 3, "a call with a deadline of a second is a probe");
});

test("reads that an impaired instance fails are retried on another one, which then gets all calls", async (t) => {
  let asked = 0;
  let impaired = true;
  const lost = () => {
    asked += 1;
    throw fail(ErrorReason.UNAVAILABLE, "the database cannot be reached");
  };
  const { auth, clock, shown } = await setUp(t, [
    { auth: { getJwks: lost, refresh: lost }, impaired: () => impaired },
    { auth: { getJwks: () => ({ jwksJson: "1" }), refresh: () => ({}) } },
  ]);
  for (let i = 0; i < 4; i++) assert.equal((await auth.getJwks({})).jwksJson, "1");
  for (let i = 0; i < 4; i++) assert.equal(await reasonFor(auth.refresh(REFRESH)), "answered");
  assert.equal(asked, 1);
  assert.equal(await shown('lucky_rpc_retries_total{upstream="auth",outcome="made"}'), 1);
  // After the back-off, a change that meets the instance first is not retried: it may be stored.
  clock.advance(1_000);
  const reasons = [await reasonFor(auth.refresh(REFRESH)), await reasonFor(auth.refresh(REFRESH))];
  assert.deepEqual(reasons.sort(), ["UNAVAILABLE", "answered"]);
  // Without the mark, the error is that of the call alone.
  impaired = false;
  clock.advance(1_000);
  const answers = [await reasonFor(auth.getJwks({})), await reasonFor(auth.getJwks({}))];
  assert.deepEqual(answers.sort(), ["UNAVAILABLE", "answered"]);
});

test("a call is not retried when the retry budget is used up", async (t) => {
  const lost = () => {
    throw fail(ErrorReason.UNAVAILABLE, "the database cannot be reached");
  };
  const impaired = () => true;
  const { auth, clock, shown } = await setUp(t, [
    { auth: { getJwks: lost }, impaired },
    { auth: { getJwks: lost }, impaired },
  ]);
  for (let i = 0; i < 40; i++) {
    clock.advance(2_000);
    assert.equal(await reasonFor(auth.getJwks({})), "UNAVAILABLE");
  }
  const made = await shown('lucky_rpc_retries_total{upstream="auth",outcome="made"}');
  assert.ok(made >= 10 && made <= 14, `${made} retries`);
  assert.ok((await shown('lucky_rpc_retries_total{upstream="auth",outcome="over-budget"}')) > 0);
});

test("calls of users in flight are bounded, and calls of our own services do not count", async (t) => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  async function getJwks() {
    await held;
    return { jwksJson: "{}" };
  }
  const checkUsers = () => ({ userIds: [] });
  const callee = { auth: { getJwks }, session: { checkUsers } };
  const { auth, session, shown } = await setUp(t, [callee], 3);
  const calls = Array.from({ length: 3 }, () => auth.getJwks({}));
  assert.equal(await reasonFor(auth.getJwks({})), "OVERLOADED");
  assert.equal(await shown('lucky_rpc_calls_refused_total{upstream="auth",reason="bulkhead"}'), 1);
  assert.equal(await reasonFor(session.checkUsers({})), "answered");
  release();
  await Promise.all(calls);
});
