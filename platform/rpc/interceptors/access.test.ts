import assert from "node:assert/strict";
import { test } from "node:test";
import { getOption } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access, access, LimitClass, limit } from "#gen/lucky/options/v1/options_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import { type Caller, callerKey } from "#platform/identity/caller.ts";
import { testIssuer } from "#platform/identity/tokens.fixture.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { generatedServices } from "#platform/rpc/generated.fixture.ts";
import { MESH_SECRET } from "#platform/rpc/rpc.fixture.ts";
import { isInternal } from "#platform/rpc/rules.ts";
import { serve } from "#platform/rpc/served.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { accessInterceptor, createAccessControl } from "./access.ts";

const clock = new ManualClock();
const issuer = await testIssuer(clock);
issuer.ended.add("ended");
const expired = Math.floor(clock.now() / 1000) - 1;

/** Headers of calls, by name of the case. */
const credentials: Record<string, Record<string, string>> = {
  nothing: {},
  user: { authorization: `Bearer ${await issuer.token()}` },
  "user, in lower case": { authorization: `bearer ${await issuer.token()}` },
  bot: { authorization: `Bearer ${await issuer.token({ role: "bot" })}` },
  operator: { authorization: `Bearer ${await issuer.token({ role: "operator" })}` },
  admin: { authorization: `Bearer ${await issuer.token({ role: "admin" })}` },
  expired: { authorization: `Bearer ${await issuer.token({ exp: expired })}` },
  ended: { authorization: `Bearer ${await issuer.token({ sid: "ended" })}` },
  forged: { authorization: `Bearer ${await (await testIssuer(clock)).token()}` },
  "basic scheme": { authorization: "Basic YTpi" },
  "no scheme": { authorization: await issuer.token() },
  mesh: { "lucky-mesh": MESH_SECRET },
  "mesh, wrong": { "lucky-mesh": "x".repeat(MESH_SECRET.length) },
  "mesh, short": { "lucky-mesh": MESH_SECRET.slice(1) },
  "mesh, empty": { "lucky-mesh": "" },
};

interface Gate {
  access: Access;
  secret?: string;
  verifier?: TokenVerifier;
}

/** Calls a method with an access. Returns the role or kind of the caller, or the reason of the refusal. */
async function outcome(headers: Record<string, string>, gate: Gate): Promise<string> {
  const control = createAccessControl({
    verifier: gate.verifier ?? issuer.verifier,
    meshSecret: gate.secret ?? MESH_SECRET,
    rules: () => ({ name: "a method", access: gate.access }),
  });
  const interceptor = accessInterceptor(control);
  let caller: Caller | undefined;
  const service = serve(AuthService, {
    getJwks(_request: unknown, { values }: { values: { get(key: typeof callerKey): Caller } }) {
      caller = values.get(callerKey);
      return {};
    },
  } as never);
  const client = createClient(AuthService, localTransport([service], [interceptor]));
  try {
    await client.getJwks({}, { headers });
  } catch (error) {
    return ErrorReason[reasonOf(error)]!;
  }
  assert.ok(caller !== undefined);
  return caller.kind === "user" ? caller.role : caller.kind;
}

const tokenRefusals = {
  nothing: "TOKEN_INVALID",
  expired: "TOKEN_EXPIRED",
  ended: "TOKEN_REVOKED",
  forged: "TOKEN_INVALID",
  "basic scheme": "TOKEN_INVALID",
  "no scheme": "TOKEN_INVALID",
  mesh: "TOKEN_INVALID",
  "mesh, wrong": "TOKEN_INVALID",
  "mesh, short": "TOKEN_INVALID",
  "mesh, empty": "TOKEN_INVALID",
};
const users = {
  user: "user",
  "user, in lower case": "user",
  bot: "bot",
  operator: "operator",
  admin: "admin",
};
/** Expected outcomes when only users of some roles may call. */
const only = (...roles: string[]) =>
  Object.fromEntries(
    Object.entries(users).map(([name, role]) => [
      name,
      roles.includes(role) ? role : "PERMISSION_DENIED",
    ]),
  );
const every = (what: string) =>
  Object.fromEntries(Object.keys(credentials).map((name) => [name, what]));

const matrix: [string, Gate, Record<string, string>][] = [
  ["PUBLIC", { access: Access.PUBLIC }, { ...every("anonymous"), ...users }],
  ["USER", { access: Access.USER }, { ...tokenRefusals, ...users }],
  ["PERSON", { access: Access.PERSON }, { ...tokenRefusals, ...only("user", "operator", "admin") }],
  ["OPERATOR", { access: Access.OPERATOR }, { ...tokenRefusals, ...only("operator", "admin") }],
  ["ADMIN", { access: Access.ADMIN }, { ...tokenRefusals, ...only("admin") }],
  ["INTERNAL", { access: Access.INTERNAL }, { ...every("PERMISSION_DENIED"), mesh: "service" }],
  [
    "INTERNAL where the mesh is not trusted",
    { access: Access.INTERNAL, secret: "" },
    every("PERMISSION_DENIED"),
  ],
  ["undeclared", { access: Access.UNSPECIFIED }, every("PERMISSION_DENIED")],
];
for (const [name, gate, expected] of matrix) {
  test(`only the declared callers may call a method that is ${name}`, async () => {
    const actual: Record<string, string> = {};
    for (const [what, headers] of Object.entries(credentials)) {
      actual[what] = await outcome(headers, gate);
    }
    assert.deepEqual(actual, { ...every("?"), ...expected });
  });
}

test("while the signing keys are unavailable a user's call is UNAVAILABLE, not TOKEN_INVALID", async () => {
  const verifier = {
    verify: () => Promise.reject(fail(ErrorReason.UNAVAILABLE, "no keys")),
  };
  const given = credentials.user!;
  assert.equal(await outcome(given, { access: Access.USER, verifier }), "UNAVAILABLE");
  assert.equal(await outcome(given, { access: Access.PUBLIC, verifier }), "anonymous");
});

test("every method of the contract declares who may call it and its limit", async () => {
  let methods = 0;
  for (const service of await generatedServices()) {
    for (const method of service.methods) {
      methods++;
      const name = method.toString();
      const who = getOption(method, access);
      const internal = isInternal(method.parent);
      assert.notEqual(who, Access.UNSPECIFIED, name);
      assert.notEqual(getOption(method, limit), LimitClass.UNSPECIFIED, name);
      assert.equal(who === Access.INTERNAL, internal, name);
      assert.equal(getOption(method, limit) === LimitClass.INTERNAL, internal, name);
    }
  }
  assert.ok(methods > 20);
  assert.equal(Code.PermissionDenied, 7);
});
