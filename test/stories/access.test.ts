import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import {
  guardedMethods,
  internalMethods,
  publicMethods,
  ROLES,
  startAccessWorld,
  userWithRole,
} from "../attack/access-world.ts";
import { badTokens } from "../attack/bad-tokens.ts";
import {
  ALL_ROLES,
  accessOf,
  callMethod,
  methods,
  nameOf,
  RPC_PROTOCOLS,
} from "../attack/method-calls.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";

const TIMEOUT = 120_000;
const { world, sign, session } = await startAccessWorld({ after });
const { url } = world;

/** Reasons of the refusal of a method that no device may call. */
const UNREACHABLE = ["PERMISSION_DENIED", "METHOD_NOT_FOUND"];

test("every method declares an access that these tests know", () => {
  assert.ok(methods.length > 50);
  for (const method of guardedMethods) assert.ok(ROLES[accessOf(method)], nameOf(method));
  for (const method of methods) {
    const own = method.parent.typeName.startsWith("lucky.internal.");
    assert.equal(accessOf(method) === Access.INTERNAL, own, nameOf(method));
  }
});

for (const protocol of RPC_PROTOCOLS) {
  test(`every guarded method refuses every bad token over ${protocol}`, {
    timeout: TIMEOUT,
  }, async () => {
    const ana = await userWithRole(world, "admin");
    const bad = await badTokens(await ana.login(), sign);
    for (const method of guardedMethods) {
      for (const { what, token, reason } of bad) {
        const failed = await callMethod(url, method, { token, protocol, session });
        assert.equal(failed.reason, reason, `${nameOf(method)} with ${what}`);
        assert.equal(failed.code, Code.Unauthenticated, `${nameOf(method)} with ${what}`);
      }
    }
  });
}

test("every guarded method refuses a token whose login has ended", {
  timeout: TIMEOUT,
}, async () => {
  const ana = await userWithRole(world, "admin");
  const token = await ana.login();
  await clientOf(url, AuthService, token).logout({});
  // The gateway learns of the revocation asynchronously, within a second: poll until it has.
  const users = UserService.method.getMyProfile;
  while ((await callMethod(url, users, { token })).reason === "ok");
  for (const method of guardedMethods) {
    for (const protocol of RPC_PROTOCOLS) {
      const { reason } = await callMethod(url, method, { token, protocol, session });
      assert.equal(reason, "TOKEN_REVOKED", `${nameOf(method)} over ${protocol}`);
    }
  }
});

test("a public method answers the same with a bad token as without one", {
  timeout: TIMEOUT,
}, async () => {
  const ana = await userWithRole(world, "admin");
  const bad = await badTokens(await ana.login(), sign);
  for (const method of publicMethods) {
    const without = await callMethod(url, method);
    for (const { what, token } of bad) {
      const { reason } = await callMethod(url, method, { token });
      assert.equal(reason, without.reason, `${nameOf(method)} with ${what}`);
    }
  }
});

for (const role of ALL_ROLES) {
  test(`the role ${role} may call exactly the methods that its access allows`, {
    timeout: TIMEOUT,
  }, async () => {
    const user = await userWithRole(world, role);
    // A refused call ends no login: these calls share one.
    const refused = await user.login();
    for (const method of guardedMethods) {
      const may = ROLES[accessOf(method)]!.includes(role);
      if (!may) {
        for (const protocol of RPC_PROTOCOLS) {
          const call = { token: refused, protocol, session };
          const { reason } = await callMethod(url, method, call);
          assert.equal(reason, "PERMISSION_DENIED", `${nameOf(method)} over ${protocol}`);
        }
        continue;
      }
      // An allowed call may end its login.
      const token = await user.login();
      const { reason, text } = await callMethod(url, method, { token });
      assert.ok(reason, `${nameOf(method)}: ${text}`);
      const closed = [...UNREACHABLE, "TOKEN_INVALID", "UNAVAILABLE", "INTERNAL"];
      assert.ok(!closed.includes(reason), `${nameOf(method)}: ${reason} ${text}`);
    }
  });
}

test("the gateway refuses every internal method, with any token and any secret", {
  timeout: TIMEOUT,
}, async () => {
  const token = await (await userWithRole(world, "admin")).login();
  const guesses: Record<string, string>[] = [
    {},
    { "lucky-mesh": "" },
    { "lucky-mesh": "x".repeat(43) },
  ];
  for (const method of internalMethods) {
    for (const headers of guesses) {
      for (const given of [undefined, token]) {
        for (const protocol of RPC_PROTOCOLS) {
          const { reason, code } = await callMethod(url, method, {
            token: given,
            headers,
            protocol,
            session,
          });
          const closed = code === Code.Unimplemented || UNREACHABLE.includes(reason ?? "");
          assert.ok(closed, `${nameOf(method)} over ${protocol}: ${reason} ${code}`);
        }
      }
    }
  }
});

test("the socket refuses the methods that a role may not call, internal methods and streams", {
  timeout: TIMEOUT,
}, async () => {
  for (const role of ALL_ROLES) {
    const user = await userWithRole(world, role);
    // A refused call ends no session: these calls share one.
    const device = await RawDevice.hello(url, await user.login());
    for (const [at, method] of methods.entries()) {
      const may = ROLES[accessOf(method)]?.includes(role) ?? accessOf(method) === Access.PUBLIC;
      const reachable = method.methodKind === "unary" && accessOf(method) !== Access.INTERNAL;
      // Allowed calls are covered over RPC; over the socket some of them would end the session.
      if (may && reachable) continue;
      device.send({ case: "rpc", value: { callId: String(at), method: nameOf(method) } });
      const { callId, outcome } = await device.next("rpcResult");
      assert.equal(callId, String(at));
      const reason = outcome.case === "error" ? outcome.value.error?.reason : undefined;
      const expected = reachable ? ErrorReason.PERMISSION_DENIED : ErrorReason.METHOD_NOT_FOUND;
      assert.equal(reason, expected, `${nameOf(method)} as ${role}`);
    }
    await device.close();
  }
});

test("a caller cannot forge its address by headers", { timeout: TIMEOUT }, async () => {
  const [ana] = await people(world, "ana");
  const { refreshToken } = await ana!.login();
  const claimed = "203.0.113.9";
  const headers = {
    "lucky-peer": claimed,
    "x-forwarded-for": claimed,
    "lucky-mesh": "a guess at the secret of a service, long enough",
  };
  await clientOf(url, AuthService).refresh({ refreshToken }, { headers });
  const sql = "SELECT coarse_address FROM auth.login WHERE user_id = $1";
  const { rows } = await world.pool.query(sql, [ana!.userId]);
  assert.deepEqual(rows, [{ coarse_address: "127.0.0.0/24" }]);
});
