import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { AuthService, DeviceClass, QrLoginState } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { detailOf, fail, reasonOf } from "#platform/errors.ts";
import { callerKey, userOf } from "#platform/identity/caller.ts";
import {
  type TestService,
  type TestServiceOptions,
  testService,
  untilAborted,
} from "#platform/rpc/rpc.fixture.ts";

/** Brings the services of a test within reach of clients; called anew for each test. */
export type Reach = (t: TestContext, service: TestService) => Promise<Transport>;

async function refused(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof ConnectError);
    return error;
  }
  assert.fail("the call was answered");
}

const watched = { qrLoginId: "i".repeat(22), secret: "s".repeat(43), deviceId: "d1" };

/** All answers of a stream. */
async function take<T>(answers: AsyncIterable<T>): Promise<T[]> {
  const taken: T[] = [];
  for await (const answer of answers) taken.push(answer);
  return taken;
}

/** What a client may rely on, whether it calls over the network or in the same process. */
export function transportSuite(name: string, reach: Reach): void {
  async function start(t: TestContext, options: TestServiceOptions) {
    const service = await testService(options);
    const transport = await reach(t, service);
    return {
      ...service,
      auth: createClient(AuthService, transport),
      user: createClient(UserService, transport),
      session: createClient(SessionService, transport),
    };
  }

  test(`${name}: a request arrives whole, and so does a partial answer`, async (t) => {
    const { user, authorized } = await start(t, {
      user: {
        getUser: ({ key }) => ({
          user: {
            userId: key.case === "userId" ? key.value : "0",
            userName: "ana",
            createdAtMs: 7n,
          },
        }),
      },
    });
    const call = await authorized();
    const answer = await user.getUser({ key: { case: "userId", value: "9007199254740993" } }, call);
    assert.equal(answer.$typeName, "lucky.user.v1.GetUserResponse");
    assert.equal(answer.user?.userId, "9007199254740993");
    assert.equal(answer.user.createdAtMs, 7n);
    assert.equal(answer.user.displayName, "");
  });

  test(`${name}: the caller is who the token says`, async (t) => {
    const callers: unknown[] = [];
    const { user, session, auth, issuer } = await start(t, {
      user: {
        batchGetUsers(_request, context) {
          const { userId, deviceId, deviceClass, loginId, role } = userOf(context);
          callers.push({ userId, deviceId, deviceClass, loginId, role });
          return {};
        },
      },
      session: {
        checkUsers(_request, { values }) {
          callers.push(values.get(callerKey));
          return {};
        },
      },
      auth: {
        getJwks(_request, { values }) {
          callers.push(values.get(callerKey));
          return {};
        },
      },
    });
    const authorization = `Bearer ${await issuer.token({ sub: "5", role: "admin" })}`;
    await user.batchGetUsers({ userIds: ["1"] }, { headers: { authorization } });
    await session.checkUsers({});
    await auth.getJwks({});
    const ana = { userId: "5", deviceId: "d1", loginId: "l1", role: "admin" };
    assert.deepEqual(callers, [
      { ...ana, deviceClass: DeviceClass.MOBILE },
      { kind: "service" },
      { kind: "anonymous" },
    ]);
  });

  test(`${name}: an error of the contract keeps code, reason, text and time, and loses its cause`, async (t) => {
    const { auth } = await start(t, {
      auth: {
        getPublicKey() {
          const cause = new Error("the database password is hunter2");
          throw fail(ErrorReason.OVERLOADED, "at the bound", { retryAfterMs: 1_500, cause });
        },
      },
    });
    const error = await refused(auth.getPublicKey({}));
    assert.equal(error.code, Code.ResourceExhausted);
    assert.equal(error.rawMessage, "at the bound");
    assert.equal(detailOf(error)?.reason, ErrorReason.OVERLOADED);
    assert.equal(detailOf(error)?.retryAfterMs, 1_500n);
    assert.equal(error.cause, undefined);
  });

  test(`${name}: any other error is a bland INTERNAL, with its cause in the log alone`, async (t) => {
    const { auth, lines } = await start(t, {
      auth: {
        getPublicKey() {
          throw new TypeError("hunter2");
        },
      },
    });
    const error = await refused(auth.getPublicKey({}));
    assert.equal(error.code, Code.Internal);
    assert.equal(reasonOf(error), ErrorReason.INTERNAL);
    assert.equal(error.rawMessage, "internal error");
    assert.equal(error.cause, undefined);
    const line = lines.find(({ event }) => event === "rpc");
    assert.equal(line?.level, "error");
    assert.match(JSON.stringify(line.err), /TypeError.*hunter2/);
  });

  test(`${name}: a broken constraint is INVALID_ARGUMENT and names the field`, async (t) => {
    const { auth } = await start(t, {});
    const password = { keyId: "k", ciphertext: new Uint8Array(256) };
    const error = await refused(auth.register({ userName: "a", password }));
    assert.equal(reasonOf(error), ErrorReason.INVALID_ARGUMENT);
    assert.match(error.rawMessage, /^user_name: /);
    const without = await refused(auth.register({ userName: "ana" }));
    assert.match(without.rawMessage, /^password: /);
  });

  test(`${name}: a deadline ends the call on both sides, even if the work does not listen`, async (t) => {
    const aborted = Promise.withResolvers<void>();
    let left: number | undefined;
    const { auth } = await start(t, {
      auth: {
        getPublicKey: (_request, { signal, timeoutMs }) => {
          left = timeoutMs();
          signal.addEventListener("abort", () => aborted.resolve());
          return new Promise(() => {});
        },
      },
    });
    // Long enough for the work to begin on a busy machine.
    const error = await refused(auth.getPublicKey({}, { timeoutMs: 1_000 }));
    assert.equal(error.code, Code.DeadlineExceeded);
    assert.ok(left !== undefined && left > 0 && left <= 1_000, `${left}`);
    await aborted.promise;
  });

  test(`${name}: a caller who goes away cancels the work`, async (t) => {
    const began = Promise.withResolvers<void>();
    const aborted = Promise.withResolvers<void>();
    const { auth } = await start(t, {
      auth: {
        getPublicKey(_request, { signal }) {
          began.resolve();
          signal.addEventListener("abort", () => aborted.resolve());
          return untilAborted(signal);
        },
      },
    });
    const controller = new AbortController();
    const call = refused(auth.getPublicKey({}, { signal: controller.signal }));
    await began.promise;
    controller.abort();
    assert.equal((await call).code, Code.Canceled);
    await aborted.promise;
  });

  test(`${name}: a call without a deadline gets ten seconds`, async (t) => {
    let left: number | undefined;
    const { auth } = await start(t, {
      auth: {
        getPublicKey(_request, { timeoutMs }) {
          left = timeoutMs();
          return {};
        },
      },
    });
    await auth.getPublicKey({});
    assert.ok(left !== undefined && left > 5_000 && left <= 10_000);
  });

  test(`${name}: a method without an implementation is METHOD_NOT_FOUND`, async (t) => {
    const { auth } = await start(t, {});
    const error = await refused(auth.getJwks({}));
    assert.equal(error.code, Code.Unimplemented);
    assert.equal(reasonOf(error), ErrorReason.METHOD_NOT_FOUND);
  });

  test(`${name}: who is beyond the budget is RATE_LIMITED and told when to come back`, async (t) => {
    const { user, auth, authorized, issuer } = await start(t, {
      user: { batchGetUsers: () => ({}) },
      auth: { getJwks: () => ({}) },
      budgets: { [LimitClass.READ]: { name: "read", points: 2, windowMs: 60_000 } },
    });
    const ana = await authorized();
    const ben = { headers: { authorization: `Bearer ${await issuer.token({ sub: "2" })}` } };
    const ask = { userIds: ["1"] };
    await user.batchGetUsers(ask, ana);
    await user.batchGetUsers(ask, ana);
    const error = await refused(user.batchGetUsers(ask, ana));
    assert.equal(error.code, Code.ResourceExhausted);
    assert.equal(reasonOf(error), ErrorReason.RATE_LIMITED);
    const retryAfterMs = detailOf(error)?.retryAfterMs ?? 0n;
    assert.ok(retryAfterMs > 0n && retryAfterMs <= 60_000n);
    await user.batchGetUsers(ask, ben);
    await auth.getJwks({});
  });

  test(`${name}: the answers of a stream come one by one, and its error with its reason`, async (t) => {
    const step = Promise.withResolvers<void>();
    const { auth } = await start(t, {
      auth: {
        async *watchQrLogin() {
          yield { qrLogin: { state: QrLoginState.WAITING } };
          await step.promise;
          yield { qrLogin: { state: QrLoginState.SCANNED, expiresAtMs: 7n } };
          const cause = new Error("hunter2");
          throw fail(ErrorReason.QR_LOGIN_EXPIRED, "too late", { cause });
        },
      },
    });
    const answers = auth.watchQrLogin(watched)[Symbol.asyncIterator]();
    const first = await answers.next();
    assert.equal(first.value?.qrLogin?.state, QrLoginState.WAITING);
    assert.equal(first.value.$typeName, "lucky.auth.v1.WatchQrLoginResponse");
    step.resolve();
    assert.equal((await answers.next()).value?.qrLogin?.expiresAtMs, 7n);
    const error = await refused(answers.next());
    assert.equal(error.code, Code.FailedPrecondition);
    assert.equal(reasonOf(error), ErrorReason.QR_LOGIN_EXPIRED);
    assert.equal(error.rawMessage, "too late");
    assert.equal(error.cause, undefined);
  });

  test(`${name}: any other error of a stream is a bland INTERNAL, with its cause in the log alone`, async (t) => {
    const { auth, lines } = await start(t, {
      auth: {
        async *watchQrLogin() {
          yield {};
          throw new TypeError("hunter2");
        },
      },
    });
    const answers = auth.watchQrLogin(watched)[Symbol.asyncIterator]();
    await answers.next();
    const error = await refused(answers.next());
    assert.equal(reasonOf(error), ErrorReason.INTERNAL);
    assert.equal(error.rawMessage, "internal error");
    assert.match(JSON.stringify(lines.find(({ event }) => event === "rpc")), /TypeError.*hunter2/);
  });

  test(`${name}: a stream's request is validated, and its budget counted`, async (t) => {
    const { auth } = await start(t, {
      auth: { async *watchQrLogin() {} },
      budgets: { [LimitClass.READ]: { name: "read", points: 3, windowMs: 60_000 } },
    });
    const error = await refused(take(auth.watchQrLogin({ ...watched, secret: "short" })));
    assert.equal(reasonOf(error), ErrorReason.INVALID_ARGUMENT);
    assert.match(error.rawMessage, /^secret: /);
    assert.deepEqual(await take(auth.watchQrLogin(watched)), []);
    await take(auth.watchQrLogin(watched));
    const limited = await refused(take(auth.watchQrLogin(watched)));
    assert.equal(reasonOf(limited), ErrorReason.RATE_LIMITED);
  });

  test(`${name}: a stream without an implementation is METHOD_NOT_FOUND`, async (t) => {
    const { auth } = await start(t, {});
    const error = await refused(take(auth.watchQrLogin(watched)));
    assert.equal(reasonOf(error), ErrorReason.METHOD_NOT_FOUND);
  });

  for (const waiting of [true, false]) {
    const where = waiting ? "waits for news" : "has been given one";
    test(`${name}: a caller who leaves a stream when it ${where} ends the work`, async (t) => {
      const ended = Promise.withResolvers<void>();
      const { auth, lines } = await start(t, {
        auth: {
          async *watchQrLogin(_request, { signal }) {
            try {
              yield {};
              await untilAborted(signal);
            } finally {
              ended.resolve();
            }
          },
        },
      });
      const controller = new AbortController();
      const { signal } = controller;
      const answers = auth.watchQrLogin(watched, { signal })[Symbol.asyncIterator]();
      await answers.next();
      const next = waiting ? refused(answers.next()) : undefined;
      controller.abort();
      if (next) assert.equal((await next).code, Code.Canceled);
      await ended.promise;
      await new Promise((resolve) => setImmediate(resolve));
      const line = lines.find(({ event }) => event === "rpc");
      assert.equal(line?.code, "canceled");
    });
  }

  test(`${name}: a deadline ends a stream on both sides`, async (t) => {
    const ended = Promise.withResolvers<void>();
    const { auth } = await start(t, {
      auth: {
        async *watchQrLogin(_request, { signal }) {
          try {
            yield {};
            await untilAborted(signal);
          } finally {
            ended.resolve();
          }
        },
      },
    });
    const error = await refused(take(auth.watchQrLogin(watched, { timeoutMs: 1_000 })));
    assert.equal(error.code, Code.DeadlineExceeded);
    await ended.promise;
  });

  test(`${name}: a stream is counted and logged once, at its end`, async (t) => {
    const { auth, lines, metrics } = await start(t, {
      auth: {
        async *watchQrLogin() {
          yield {};
          yield {};
        },
      },
    });
    const headers = { "x-request-id": "r-9" };
    assert.equal((await take(auth.watchQrLogin(watched, { headers }))).length, 2);
    const logged = lines.filter(({ event }) => event === "rpc");
    assert.deepEqual(
      logged.map(({ method, code, requestId }) => ({ method, code, requestId })),
      [{ method: "lucky.auth.v1.AuthService/WatchQrLogin", code: "ok", requestId: "r-9" }],
    );
    assert.match(
      await metrics.text(),
      /lucky_rpc_requests_total\{method="lucky.auth.v1.AuthService\/WatchQrLogin",code="ok"\} 1/,
    );
  });

  test(`${name}: a call is counted, timed and logged once, under the id that it came with`, async (t) => {
    const ids: (string | null)[] = [];
    const { auth, metrics, lines } = await start(t, {
      auth: {
        getJwks(_request, { requestHeader }) {
          ids.push(requestHeader.get("x-request-id"));
          return {};
        },
      },
    });
    let answered: string | null = null;
    await auth.getJwks(
      {},
      {
        headers: { "x-request-id": "r-1" },
        onHeader: (header) => {
          answered = header.get("x-request-id");
        },
      },
    );
    await auth.getJwks({}, { headers: { "x-request-id": "no such id: too strange" } });
    assert.equal(ids[0], "r-1");
    assert.equal(answered, "r-1");
    assert.match(ids[1] ?? "", /^[0-9a-f-]{36}$/);
    const logged = lines.filter(({ event }) => event === "rpc");
    assert.deepEqual(
      logged.map(({ method, code, requestId }) => ({ method, code, requestId })),
      ids.map((requestId) => ({
        method: "lucky.auth.v1.AuthService/GetJwks",
        code: "ok",
        requestId,
      })),
    );
    const text = await metrics.text();
    assert.match(
      text,
      /lucky_rpc_requests_total\{method="lucky.auth.v1.AuthService\/GetJwks",code="ok"\} 2/,
    );
    assert.match(text, /lucky_rpc_seconds_count\{method="lucky.auth.v1.AuthService\/GetJwks"\} 2/);
  });
}
