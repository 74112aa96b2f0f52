import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { callerKey, userOf } from "#platform/identity/caller.ts";
import { refused, type Start } from "./transport.fixture.ts";

/** Requests, callers and budgets. */
export function requestSuite(name: string, start: Start): void {
  test(`${name}: requests and partial answers arrive whole`, async (t) => {
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

  test(`${name}: the token determines the caller`, async (t) => {
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
      { kind: "service", service: "server" },
      { kind: "anonymous" },
    ]);
  });

  test(`${name}: a caller beyond its budget is RATE_LIMITED, with a retry delay`, async (t) => {
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
}
