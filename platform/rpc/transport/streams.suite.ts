import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { QrLoginState } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import { refused, type Start, take, watched } from "./transport.fixture.ts";

/** Answers and errors of streams. */
export function streamSuite(name: string, start: Start): void {
  test(`${name}: the answers of a stream arrive one by one, and its error with its reason`, async (t) => {
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

  test(`${name}: any other error of a stream becomes a bland INTERNAL, with its cause only in the log`, async (t) => {
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
}
