import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { type DescMethod, toJsonString } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode, EndpointService } from "#gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import { PresenceService } from "#gen/lucky/presence/v1/presence_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import type { Role } from "#platform/identity/caller.ts";
import { badTokens } from "../attack/bad-tokens.ts";
import {
  ALL_ROLES,
  accessOf,
  callMethod,
  callMethodOverSocket,
  methods,
  nameOf,
  RPC_PROTOCOLS,
} from "../attack/method-calls.ts";
import { requestsFor } from "../attack/requests.ts";
import { signerOf } from "../attack/signing.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, text } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const keyEncryptionKey = Buffer.alloc(32, 3).toString("base64");
const world = await startWorld(
  { after },
  {
    settings: {
      LUCKY_AUTH_KEY_ENCRYPTION_KEY: keyEncryptionKey,
      LUCKY_LIMITS_SEARCH_PER_MINUTE: "100000",
      // Codes are counted per address; a walk asks for many.
      LUCKY_AUTH_SMS_PER_ADDRESS_PER_HOUR: "100000",
    },
  },
);
const sign = await signerOf(world.pool, keyEncryptionKey);
const { url } = world;

const open = methods.filter((method) => accessOf(method) === Access.PUBLIC);
const internal = methods.filter((method) => accessOf(method) === Access.INTERNAL);
const guarded = methods.filter((method) => !open.includes(method) && !internal.includes(method));

/** Who may call what needs a login; a new kind of access has to be told here. */
const mayCall: Partial<Record<Access, readonly Role[]>> = {
  [Access.USER]: ["bot", "user", "operator", "admin"],
  [Access.PERSON]: ["user", "operator", "admin"],
  [Access.OPERATOR]: ["operator", "admin"],
  [Access.ADMIN]: ["admin"],
};

/** Somebody of a role; each login is of a device of its own. */
async function someone(role: Role) {
  const [person] = await people(world, role);
  const sql = "UPDATE auth.account SET role = $2 WHERE user_id = $1";
  await world.pool.query(sql, [person!.userId, role]);
  return { userId: person!.userId, login: async () => (await person!.login()).accessToken };
}

/** Streams are not called over sockets; where to open one is the gateway's own to say. */
const isOnSocket = (method: DescMethod): boolean =>
  method.methodKind === "unary" && method.parent !== EndpointService;

/** How a method that a device may not reach at all answers. */
const UNREACHABLE = ["PERMISSION_DENIED", "METHOD_NOT_FOUND"];

test("every method declares who may call it, and the walk knows what that means", () => {
  assert.ok(methods.length > 50);
  for (const method of guarded) assert.ok(mayCall[accessOf(method)], nameOf(method));
  for (const method of methods) {
    const own = method.parent.typeName.startsWith("lucky.internal.");
    assert.equal(accessOf(method) === Access.INTERNAL, own, nameOf(method));
  }
});

for (const way of RPC_PROTOCOLS) {
  test(`without a good token nobody gets anywhere, method by method, over ${way}`, {
    timeout: TIMEOUT,
  }, async () => {
    const ana = await someone("admin");
    const bad = await badTokens(await ana.login(), sign);
    for (const method of guarded) {
      for (const { what, token, reason } of bad) {
        const failed = await callMethod(url, method, { token, protocol: way });
        assert.equal(failed.reason, reason, `${nameOf(method)} with ${what}`);
        assert.equal(failed.code, Code.Unauthenticated, `${nameOf(method)} with ${what}`);
      }
    }
  });
}

test("after its login has ended a token gets nowhere, method by method", {
  timeout: TIMEOUT,
}, async () => {
  const ana = await someone("admin");
  const token = await ana.login();
  await clientOf(url, AuthService, token).logout({});
  // The news is on its way; it has a second.
  const users = UserService.method.getMyProfile;
  while ((await callMethod(url, users, { token })).reason === "ok");
  for (const method of guarded) {
    for (const way of RPC_PROTOCOLS) {
      const { reason } = await callMethod(url, method, { token, protocol: way });
      assert.equal(reason, "TOKEN_REVOKED", `${nameOf(method)} over ${way}`);
    }
  }
});

test("a bad token takes nothing away where none is needed, and gives nothing", {
  timeout: TIMEOUT,
}, async () => {
  const ana = await someone("admin");
  const bad = await badTokens(await ana.login(), sign);
  for (const method of open) {
    const without = await callMethod(url, method);
    for (const { what, token } of bad) {
      const { reason } = await callMethod(url, method, { token });
      assert.equal(reason, without.reason, `${nameOf(method)} with ${what}`);
    }
  }
});

for (const role of ALL_ROLES) {
  test(`what a role may call answers, what it may not is refused: ${role}`, {
    timeout: TIMEOUT,
  }, async () => {
    const one = await someone(role);
    for (const method of guarded) {
      const token = await one.login();
      const may = mayCall[accessOf(method)]!.includes(role);
      if (!may) {
        for (const way of RPC_PROTOCOLS) {
          const { reason } = await callMethod(url, method, { token, protocol: way });
          assert.equal(reason, "PERMISSION_DENIED", `${nameOf(method)} over ${way}`);
        }
        continue;
      }
      const { reason, text } = await callMethod(url, method, { token });
      assert.ok(reason, `${nameOf(method)}: ${text}`);
      const closed = [...UNREACHABLE, "TOKEN_INVALID", "UNAVAILABLE", "INTERNAL"];
      assert.ok(!closed.includes(reason), `${nameOf(method)}: ${reason} ${text}`);
    }
  });
}

test("no method of our own services answers at the gateway, to nobody", {
  timeout: TIMEOUT,
}, async () => {
  const token = await (await someone("admin")).login();
  const guesses: Record<string, string>[] = [
    {},
    { "lucky-mesh": "" },
    { "lucky-mesh": "x".repeat(43) },
  ];
  for (const method of internal) {
    for (const headers of guesses) {
      for (const given of [undefined, token]) {
        for (const way of RPC_PROTOCOLS) {
          const { reason, code } = await callMethod(url, method, {
            token: given,
            headers,
            protocol: way,
          });
          const closed = code === Code.Unimplemented || UNREACHABLE.includes(reason ?? "");
          assert.ok(closed, `${nameOf(method)} over ${way}: ${reason} ${code}`);
        }
      }
    }
  }
});

test("the same roles hold over the socket, where services' methods and streams are not", {
  timeout: TIMEOUT,
}, async () => {
  for (const role of ALL_ROLES) {
    const one = await someone(role);
    for (const method of methods) {
      const may = mayCall[accessOf(method)]?.includes(role) ?? accessOf(method) === Access.PUBLIC;
      const reachable = method.methodKind === "unary" && accessOf(method) !== Access.INTERNAL;
      // What a role may do is shown over RPC; here it might end the session in the middle.
      if (may && reachable) continue;
      const device = await RawDevice.hello(url, await one.login());
      device.send({ case: "rpc", value: { callId: "1", method: nameOf(method) } });
      const { outcome } = await device.next("rpcResult");
      const reason = outcome.case === "error" ? outcome.value.error?.reason : undefined;
      const expected = reachable ? ErrorReason.PERMISSION_DENIED : ErrorReason.METHOD_NOT_FOUND;
      assert.equal(reason, expected, `${nameOf(method)} as ${role}`);
      await device.close();
    }
  }
});

/** Ana, who has a conversation and a group with Ben, and tells some things to nobody. */
async function victim() {
  const [ana, ben] = await people(world, "ana", "ben");
  const deviceId = randomUUID();
  const { accessToken } = await ana!.login({ deviceId });
  const secrets = { location: randomUUID(), answer: randomUUID(), text: randomUUID(), deviceId };
  await clientOf(url, UserService, accessToken).updateProfile({
    location: secrets.location,
    birthday: { year: 1977, month: 7, day: 7 },
    addAnswer: secrets.answer,
  });
  const { accepted } = await clientOf(url, MessageService, accessToken).send({
    target: { case: "userId", value: ben!.userId },
    clientMessageId: "secret",
    content: text(secrets.text),
  });
  const { group } = await clientOf(url, GroupService, accessToken).createGroup({
    name: secrets.text,
    userIds: [ben!.userId],
  });
  return {
    /** What a request of somebody else may name. */
    named: {
      user_id: ana!.userId,
      after_user_id: ana!.userId,
      user_name: ana!.userName,
      user_name_prefix: ana!.userName,
      conversation_id: accepted!.conversationId,
      group_id: group!.groupId,
      message_id: accepted!.messageId,
      device_id: deviceId,
    },
    userIds: [ana!.userId, ben!.userId],
    conversationIds: [accepted!.conversationId, group!.groupId],
    secrets: Object.values(secrets),
  };
}

/** All rows of the schemas that say one of the ids, as JSON. */
async function rowsWith(schemas: string[], ids: readonly string[]): Promise<Set<string>> {
  const { rows: tables } = await world.pool.query(
    `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
     WHERE table_schema = ANY($1) AND table_type = 'BASE TABLE' AND table_name <> 'outbox'`,
    [schemas],
  );
  const found = new Set<string>();
  for (const { name } of tables) {
    const { rows } = await world.pool.query(
      `SELECT to_jsonb(t)::text AS row FROM ${name} t WHERE to_jsonb(t)::text ~ $1`,
      [ids.join("|")],
    );
    for (const { row } of rows) found.add(`${name} ${row}`);
  }
  return found;
}

for (const way of [...RPC_PROTOCOLS, "socket"] as const) {
  test(`with another user's ids in the request nobody reads, writes or ends what is theirs, over ${way}`, {
    timeout: TIMEOUT,
  }, async () => {
    const ana = await victim();
    const account = await rowsWith(["auth"], ana.userIds);
    const conversations = await rowsWith(["im"], ana.conversationIds);
    const others = await rowsWith(["im"], ana.userIds);
    assert.ok(account.size >= 3 && conversations.size >= 4 && others.size >= 4);
    const [eve] = await people(world, "eve");
    for (const method of [...open, ...guarded]) {
      if (way === "socket" && !isOnSocket(method)) continue;
      for (const request of requestsFor(method, ana.named)) {
        const what = `${nameOf(method)} ${toJsonString(method.input, request)}`;
        // Each call may end the login that it is made with.
        const { accessToken: token } = await eve!.login();
        const { reason, text, answer } =
          way === "socket"
            ? await callMethodOverSocket(url, method, { token, request })
            : await callMethod(url, method, { token, request, protocol: way });
        assert.ok(reason, `${what}: ${text}`);
        const wrong = ["INTERNAL", "UNAVAILABLE", "METHOD_NOT_FOUND", "TOKEN_INVALID"];
        assert.ok(!wrong.includes(reason), `${what}: ${reason} ${text}`);
        for (const secret of ana.secrets) assert.ok(!(answer + text).includes(secret), what);
        // Not the bare digits: a time in milliseconds may hold them.
        assert.ok(!answer.includes(`"year":1977`), what);
        assert.deepEqual(await rowsWith(["auth"], ana.userIds), account, what);
        assert.deepEqual(await rowsWith(["im"], ana.conversationIds), conversations, what);
      }
    }
    // A stranger may write to them, and so make rows; what was there stays as it was.
    const afterwards = await rowsWith(["im"], ana.userIds);
    for (const row of others) assert.ok(afterwards.has(row), row);
  });
}

test("nobody comes from another address by saying so", { timeout: TIMEOUT }, async () => {
  const [ana] = await people(world, "ana");
  const { refreshToken } = await ana!.login();
  const claimed = "203.0.113.9";
  const headers = {
    "lucky-peer": claimed,
    "x-forwarded-for": claimed,
    "lucky-mesh": "a guess at the secret of the mesh, long enough",
  };
  await clientOf(url, AuthService).refresh({ refreshToken }, { headers });
  const sql = "SELECT coarse_address FROM auth.login WHERE user_id = $1";
  const { rows } = await world.pool.query(sql, [ana!.userId]);
  assert.deepEqual(rows, [{ coarse_address: "127.0.0.0/24" }]);
});

test("a socket without a good token closes with its reason", { timeout: TIMEOUT }, async () => {
  const [ana] = await people(world, "ana");
  const bad = await badTokens((await ana!.login()).accessToken, sign);
  for (const { what, token, reason } of bad) {
    const device = await RawDevice.open(world.url);
    device.send({ case: "hello", value: { accessToken: token ?? "" } });
    assert.equal((await device.closed).code, CloseCode[reason], what);
  }
});

test("an open session that renews with a bad token ends with its reason", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  const bad = await badTokens(accessToken, sign);
  for (const { what, token, reason } of bad) {
    const device = await RawDevice.hello(world.url, accessToken);
    device.send({ case: "renew", value: { accessToken: token ?? "" } });
    assert.equal((await device.closed).code, CloseCode[reason], what);
  }
});

test("a token in the URL is refused", { timeout: TIMEOUT }, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  await assert.rejects(RawDevice.open(world.url, `/ws?access_token=${accessToken}`));
});

test("a frame before Hello closes the socket", { timeout: TIMEOUT }, async () => {
  const device = await RawDevice.open(world.url);
  device.send({ case: "heartbeat", value: {} });
  assert.equal((await device.closed).code, CloseCode.PROTOCOL_ERROR);
});

test("after logout the token is worth nothing and the socket closes", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken, refreshToken } = await ana!.login();
  const device = await RawDevice.hello(world.url, accessToken);
  await clientOf(world.url, AuthService, accessToken).logout({});
  assert.equal((await device.closed).code, CloseCode.TOKEN_REVOKED);
  const refresh = clientOf(world.url, AuthService).refresh({ refreshToken });
  await assert.rejects(refresh, (e) => reasonOf(e) === ErrorReason.REFRESH_TOKEN_INVALID);
  const again = await RawDevice.open(world.url);
  again.send({ case: "hello", value: { accessToken } });
  assert.equal((await again.closed).code, CloseCode.TOKEN_REVOKED);
});

test("a stranger neither reads nor writes nor moves cursors in a conversation", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, eve] = await people(world, "ana", "ben", "eve");
  const asAna = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const asBen = clientOf(world.url, MessageService, (await ben!.login()).accessToken);
  const { accessToken } = await eve!.login();
  const asEve = clientOf(world.url, MessageService, accessToken);
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
  const typing = clientOf(world.url, PresenceService, accessToken);
  await assert.rejects(typing.sendTyping({ conversationId, typing: true }), unknown);
  const { entries } = await asBen.listEntries({ conversationId, position });
  assert.deepEqual(
    entries.map((e) => e.senderId),
    [ana!.userId],
  );
});
