import assert from "node:assert/strict";
import { test } from "node:test";
import { getOption } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type HandlerContext } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { Access, access, callers, LimitClass, limit } from "#gen/lucky/options/v1/options_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import { type Caller, callerKey } from "#platform/identity/caller.ts";
import { testIssuer } from "#platform/identity/tokens.fixture.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { generatedServices } from "#platform/rpc/generated.fixture.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import {
  GATEWAY_SECRET,
  SERVER_SECRET,
  testCallers,
  testService,
} from "#platform/rpc/rpc.fixture.ts";
import { isInternal, rulesOf } from "#platform/rpc/rules.ts";
import { serve } from "#platform/rpc/served.ts";
import type { ServiceName } from "#platform/service-name.ts";
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
  server: { "lucky-mesh": SERVER_SECRET },
  gateway: { "lucky-mesh": GATEWAY_SECRET },
  "secret, wrong": { "lucky-mesh": "x".repeat(SERVER_SECRET.length) },
  "secret, short": { "lucky-mesh": SERVER_SECRET.slice(1) },
  "secret, empty": { "lucky-mesh": "" },
  "two secrets": { "lucky-mesh": `${GATEWAY_SECRET}, ${SERVER_SECRET}` },
};

interface Gate {
  access: Access;
  /** Services that may call; only "server" when absent. */
  callers?: readonly ServiceName[];
  mesh?: boolean;
  verifier?: TokenVerifier;
}

/** Calls a method with an access. Returns the role or kind of the caller, or the reason of the refusal. */
async function outcome(headers: Record<string, string>, gate: Gate): Promise<string> {
  const control = createAccessControl({
    verifier: gate.verifier ?? issuer.verifier,
    mesh: gate.mesh === false ? undefined : testCallers,
    rules: () => ({
      name: "a method",
      access: gate.access,
      callers: gate.callers ?? ["server"],
    }),
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
  if (caller.kind === "service") return caller.service;
  return caller.kind === "user" ? caller.role : caller.kind;
}

const tokenRefusals = {
  nothing: "TOKEN_INVALID",
  expired: "TOKEN_EXPIRED",
  ended: "TOKEN_REVOKED",
  forged: "TOKEN_INVALID",
  "basic scheme": "TOKEN_INVALID",
  "no scheme": "TOKEN_INVALID",
  server: "TOKEN_INVALID",
  gateway: "TOKEN_INVALID",
  "secret, wrong": "TOKEN_INVALID",
  "secret, short": "TOKEN_INVALID",
  "secret, empty": "TOKEN_INVALID",
  "two secrets": "TOKEN_INVALID",
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
  [
    "INTERNAL for server",
    { access: Access.INTERNAL },
    { ...every("PERMISSION_DENIED"), server: "server" },
  ],
  [
    "INTERNAL for server and gateway",
    { access: Access.INTERNAL, callers: ["gateway", "server"] },
    { ...every("PERMISSION_DENIED"), server: "server", gateway: "gateway" },
  ],
  [
    "INTERNAL for another service",
    { access: Access.INTERNAL, callers: ["connect"] },
    every("PERMISSION_DENIED"),
  ],
  [
    "INTERNAL without callers",
    { access: Access.INTERNAL, callers: [] },
    every("PERMISSION_DENIED"),
  ],
  [
    "INTERNAL where no secret is accepted",
    { access: Access.INTERNAL, mesh: false },
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

/** The address that a call counts for, given the credentials and the header of an address. */
async function addressFor(headers: Record<string, string>): Promise<string | undefined> {
  let address: string | undefined;
  const service = serve(AuthService, {
    getJwks(_request: unknown, { values }: HandlerContext) {
      address = values.get(peerAddress);
      return {};
    },
  } as never);
  const control = createAccessControl({
    verifier: issuer.verifier,
    mesh: testCallers,
    rules: rulesOf,
  });
  const interceptor = accessInterceptor(control);
  const client = createClient(AuthService, localTransport([service], [interceptor]));
  await client.getJwks({}, { headers: { ...headers, "lucky-peer": "203.0.113.9" } });
  return address;
}

test("only a service that forwards calls of devices sets the address of the caller", async () => {
  assert.equal(await addressFor(credentials.gateway!), "203.0.113.9");
  for (const what of ["nothing", "user", "admin", "server", "secret, wrong", "two secrets"]) {
    assert.equal(await addressFor(credentials[what]!), undefined, what);
  }
});

test("a refused internal call names the calling service, and so does its line in the log", async () => {
  const { served, interceptors, lines } = await testService();
  const transport = localTransport(served, interceptors, { caller: "gateway" });
  const error = await createClient(SessionService, transport)
    .checkUsers({})
    .catch((thrown: unknown) => thrown);
  const method = "lucky.internal.session.v1.SessionService/CheckUsers";
  const { code, rawMessage } = ConnectError.from(error);
  assert.deepEqual([code, rawMessage], [Code.PermissionDenied, `${method} does not admit gateway`]);
  const logged = lines.map(({ event, level, callingService, ...line }) => {
    return { event, level, callingService, method: line.method, reason: line.reason };
  });
  const reason = "PERMISSION_DENIED";
  assert.deepEqual(logged, [
    { event: "rpc", level: "warn", callingService: "gateway", method, reason },
  ]);
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
      const declared = getOption(method, callers);
      assert.equal(declared.length > 0, internal, name);
      assert.equal(rulesOf(method).callers.length, new Set(declared).size, name);
    }
  }
  assert.ok(methods > 20);
  assert.equal(Code.PermissionDenied, 7);
});
