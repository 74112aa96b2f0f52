import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  create,
  type DescMethod,
  type DescService,
  getOption,
  hasOption,
} from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { AuthService } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { CloseCode, EndpointService } from "../../gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "../../gen/lucky/group/v1/group_pb.js";
import { IngressService } from "../../gen/lucky/internal/ingress/v1/ingress_pb.js";
import { SessionService } from "../../gen/lucky/internal/session/v1/session_pb.js";
import { MessageService } from "../../gen/lucky/message/v1/message_pb.js";
import { Access, access } from "../../gen/lucky/options/v1/options_pb.js";
import { PresenceService } from "../../gen/lucky/presence/v1/presence_pb.js";
import { UserService } from "../../gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "../../platform/errors.ts";
import { callers, people, text } from "../people.ts";
import { RawDevice } from "../raw.ts";
import { startWorld } from "../world.ts";

const timeout = 120_000;
const world = await startWorld({ after });

const services: DescService[] = [
  AuthService,
  UserService,
  MessageService,
  GroupService,
  PresenceService,
  EndpointService,
  IngressService,
  SessionService,
];
const methods = services.flatMap((service) => service.methods);
const accessOf = (method: DescMethod) =>
  hasOption(method, access) ? getOption(method, access) : 0;

/** Calls a method with an empty request. Returns the reason and the code of the failure. */
async function call(method: DescMethod, token: string | undefined) {
  const client = callers(world.url, method.parent, token) as unknown as Record<
    string,
    (request: object) => Promise<unknown>
  >;
  try {
    await client[method.localName]!(create(method.input));
    return { reason: undefined, code: undefined };
  } catch (error) {
    return { reason: reasonOf(error), code: ConnectError.from(error).code };
  }
}

/** Tokens that must not get anywhere, with the reason that each is refused for. */
async function badTokens(valid: string): Promise<[string, string | undefined, ErrorReason][]> {
  const [head, payload, signature] = valid.split(".") as [string, string, string];
  const header = JSON.parse(Buffer.from(head, "base64url").toString());
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
  const foreign = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  const sign = (body: object) =>
    new SignJWT({ ...body }).setProtectedHeader(header).sign(foreign.privateKey);
  const other = Buffer.from(JSON.stringify({ ...claims, sub: "1" })).toString("base64url");
  const invalid = ErrorReason.TOKEN_INVALID;
  return [
    ["no token", undefined, invalid],
    ["no JWT", "nonsense", invalid],
    ["signed by another key", await sign(claims), invalid],
    ["signed by another key for another audience", await sign({ ...claims, aud: "x" }), invalid],
    ["alg none", new UnsecuredJWT(claims).encode(), invalid],
    ["another user's id under the old signature", `${head}.${other}.${signature}`, invalid],
    ["cut signature", valid.slice(0, -4), invalid],
  ];
}

test("every method declares who may call it", () => {
  for (const method of methods) {
    assert.notEqual(
      accessOf(method),
      Access.UNSPECIFIED,
      `${method.parent.typeName}/${method.name}`,
    );
  }
});

test("without a good token nobody gets anywhere, method by method", { timeout }, async () => {
  const [ana] = await people(world, "ana");
  const bad = await badTokens((await ana!.login()).accessToken);
  for (const method of methods) {
    const name = `${method.parent.typeName}/${method.name}`;
    if (accessOf(method) === Access.PUBLIC) continue;
    for (const [what, token, reason] of bad) {
      const failed = await call(method, token);
      if (accessOf(method) === Access.INTERNAL) {
        assert.ok(
          failed.code === Code.PermissionDenied || failed.code === Code.Unimplemented,
          `${name} with ${what}: ${failed.code}`,
        );
      } else {
        assert.equal(failed.reason, reason, `${name} with ${what}`);
        assert.equal(failed.code, Code.Unauthenticated, `${name} with ${what}`);
      }
    }
  }
});

test("no user calls an internal method through the gateway", { timeout }, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  for (const method of methods) {
    if (accessOf(method) !== Access.INTERNAL) continue;
    const { code } = await call(method, accessToken);
    assert.ok(code === Code.PermissionDenied || code === Code.Unimplemented, method.name);
  }
});

test("no user calls an internal method over the socket", { timeout }, async (t) => {
  const [ana] = await people(world, "ana");
  const device = await RawDevice.hello(world.url, (await ana!.login()).accessToken);
  t.after(() => device.close());
  for (const method of methods) {
    if (accessOf(method) !== Access.INTERNAL) continue;
    device.send({
      case: "rpc",
      value: { callId: "1", method: `${method.parent.typeName}/${method.name}` },
    });
    const { outcome } = await device.next("rpcResult");
    assert.equal(outcome.case, "error");
    assert.equal(
      outcome.case === "error" && outcome.value.error?.reason,
      ErrorReason.METHOD_NOT_FOUND,
    );
  }
});

test("a socket without a good token closes with its reason", { timeout }, async () => {
  const [ana] = await people(world, "ana");
  const bad = await badTokens((await ana!.login()).accessToken);
  for (const [what, token] of bad) {
    const device = await RawDevice.open(world.url);
    device.send({ case: "hello", value: { accessToken: token ?? "" } });
    assert.equal((await device.closed).code, CloseCode.TOKEN_INVALID, what);
  }
});

test("a token in the URL is refused", { timeout }, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  await assert.rejects(RawDevice.open(world.url, `/ws?access_token=${accessToken}`));
});

test("a frame before Hello closes the socket", { timeout }, async () => {
  const device = await RawDevice.open(world.url);
  device.send({ case: "heartbeat", value: {} });
  assert.equal((await device.closed).code, CloseCode.PROTOCOL_ERROR);
});

test("after logout the token is worth nothing and the socket closes", { timeout }, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken, refreshToken } = await ana!.login();
  const device = await RawDevice.hello(world.url, accessToken);
  await callers(world.url, AuthService, accessToken).logout({});
  assert.equal((await device.closed).code, CloseCode.TOKEN_REVOKED);
  const refresh = callers(world.url, AuthService).refresh({ refreshToken });
  await assert.rejects(refresh, (e) => reasonOf(e) === ErrorReason.REFRESH_TOKEN_INVALID);
  const again = await RawDevice.open(world.url);
  again.send({ case: "hello", value: { accessToken } });
  assert.equal((await again.closed).code, CloseCode.TOKEN_REVOKED);
});

test("a stranger neither reads nor writes nor moves cursors in a conversation", {
  timeout,
}, async () => {
  const [ana, ben, eve] = await people(world, "ana", "ben", "eve");
  const asAna = callers(world.url, MessageService, (await ana!.login()).accessToken);
  const asBen = callers(world.url, MessageService, (await ben!.login()).accessToken);
  const { accessToken } = await eve!.login();
  const asEve = callers(world.url, MessageService, accessToken);
  const { accepted } = await asAna.send({
    target: { case: "userId", value: ben!.userId },
    clientMessageId: "secret",
    content: text("between us"),
  });
  const conversationId = accepted!.conversationId;
  const unknown = (e: unknown) => reasonOf(e) === ErrorReason.CONVERSATION_NOT_FOUND;
  const position = { case: "afterSequence", value: 0n } as const;
  await assert.rejects(asEve.listEntries({ conversationId, position }), unknown);
  await assert.rejects(asEve.listReceipts({ conversationId }), unknown);
  const write = asEve.send({
    target: { case: "conversationId", value: conversationId },
    clientMessageId: "intruder",
    content: text("hello"),
  });
  await assert.rejects(write, (e) =>
    [ErrorReason.NOT_A_MEMBER, ErrorReason.CONVERSATION_NOT_FOUND].includes(reasonOf(e)),
  );
  await asEve.acknowledge({ cursors: [{ conversationId, readSequence: 1n }] });
  const { receipts } = await asBen.listReceipts({ conversationId });
  assert.ok(receipts.every((r) => r.userId !== eve!.userId));
  assert.deepEqual((await asEve.sync({})).conversations, []);
  const typing = callers(world.url, PresenceService, accessToken);
  await assert.rejects(typing.sendTyping({ conversationId, typing: true }), unknown);
  const { entries } = await asBen.listEntries({ conversationId, position });
  assert.deepEqual(
    entries.map((e) => e.senderId),
    [ana!.userId],
  );
});
