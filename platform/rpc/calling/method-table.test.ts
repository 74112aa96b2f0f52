import assert from "node:assert/strict";
import { test } from "node:test";
import {
  create,
  type DescMethodUnary,
  fromBinary,
  type Message,
  toBinary,
} from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { MessageService, SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import {
  BatchGetUsersRequestSchema,
  BatchGetUsersResponseSchema,
  GetUserRequestSchema,
  SearchUsersRequestSchema,
  UpdateProfileRequestSchema,
  UserService,
} from "#gen/lucky/user/v1/user_pb.js";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { type Role, userOf } from "#platform/identity/caller.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import type { Budgets } from "#platform/rpc/interceptors/budgets.ts";
import { testService } from "#platform/rpc/rpc.fixture.ts";
import { serve } from "#platform/rpc/served.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { localTransport } from "./local.ts";
import { type MethodTable, methodTable } from "./method-table.ts";

const { served, interceptors, authorized } = await testService({
  user: {
    batchGetUsers: ({ userIds }, context) => ({
      users: [...userIds, userOf(context).userId].map((userId) => ({ userId })),
    }),
  },
  session: { checkUsers: () => ({}) },
});
const transport = localTransport(served, interceptors, { caller: "server" });
const table = methodTable(
  [UserService, AuthService, SessionService].map((service) => ({ service, transport })),
);
const { signal } = new AbortController();
const none = new Uint8Array();

async function refusal(method: string, request = none, headers = new Headers()): Promise<string> {
  const error = await table.call(method, request, headers, signal).then(
    () => assert.fail("the call was answered"),
    (thrown: unknown) => thrown,
  );
  return ErrorReason[reasonOf(error)];
}

test("a method is called by name, with bytes in and bytes out, as the user of the headers", async () => {
  const request = toBinary(
    BatchGetUsersRequestSchema,
    create(BatchGetUsersRequestSchema, { userIds: ["7"] }),
  );
  const headers = new Headers((await authorized()).headers);
  const method = "lucky.user.v1.UserService/BatchGetUsers";
  const answer = await table.call(method, request, headers, signal);
  const { users } = fromBinary(BatchGetUsersResponseSchema, answer);
  assert.deepEqual(
    users.map(({ userId }) => userId),
    ["7", "1"],
  );
  assert.equal(await refusal(method, request), "TOKEN_INVALID");
});

test("unknown and internal methods are METHOD_NOT_FOUND", async () => {
  for (const method of [
    "",
    "lucky.user.v1.UserService/Nothing",
    "/lucky.user.v1.UserService/GetUser",
    "lucky.group.v1.GroupService/GetGroup",
    "lucky.internal.session.v1.SessionService/CheckUsers",
    "__proto__",
  ]) {
    assert.equal(await refusal(method), "METHOD_NOT_FOUND", method);
  }
});

test("undecodable bytes are INVALID_ARGUMENT, and so is a broken constraint", async () => {
  const headers = new Headers((await authorized()).headers);
  const method = "lucky.user.v1.UserService/GetUser";
  assert.equal(await refusal(method, Uint8Array.of(0xff), headers), "INVALID_ARGUMENT");
  assert.equal(await refusal(method, none, headers), "INVALID_ARGUMENT");
});

/** Calls as a user of the socket. Returns the reason and the text of the refusal. */
async function refusalFor(
  table: MethodTable,
  { method, request = none, role = "user" }: { method: string; request?: Uint8Array; role?: Role },
): Promise<string> {
  const caller = { userId: "1", role };
  const error = await table.call(method, request, new Headers(), signal, caller).then(
    () => assert.fail("the call was answered"),
    (thrown: unknown) => ConnectError.from(thrown),
  );
  return `${ErrorReason[reasonOf(error)]}: ${error.rawMessage}`;
}

test("role, budget, size and number of fields are checked in this order, and before decoding", async (t) => {
  const limiter = createMemoryLimiter();
  t.after(() => limiter.close());
  const one = (name: string) => ({ name, points: 1, windowMs: 60_000 });
  const budgets = { [LimitClass.READ]: one("read"), [LimitClass.WRITE]: one("write") };
  const services = [UserService, AuthService, AdminService];
  const reachable = services.map((service) => ({ service, transport }));
  const limited = methodTable(reachable, { limiter, budgets });
  const undecodable = Uint8Array.of(0xff);

  const disable = "lucky.admin.v1.AdminService/DisableAccount";
  const asUser = await refusalFor(limited, { method: disable, request: undecodable });
  assert.match(asUser, /^PERMISSION_DENIED: .* is for operators$/);
  const operator = { method: disable, request: undecodable, role: "operator" } as const;
  assert.match(await refusalFor(limited, operator), /^INVALID_ARGUMENT: the request is not a/);
  assert.match(await refusalFor(limited, operator), /^RATE_LIMITED/);

  const method = "lucky.user.v1.UserService/BatchGetUsers";
  const large = await refusalFor(table, { method, request: new Uint8Array(65_537) });
  assert.equal(large, "INVALID_ARGUMENT: the request has more than 65536 bytes");
  const request = Buffer.alloc(10_002, Uint8Array.of(0x0a, 0x00));
  const many = await refusalFor(table, { method, request });
  assert.match(many, /^INVALID_ARGUMENT: the request has more than 5000 fields/);
});

test("a budget used up at the gateway refuses over the socket, and the reverse, in every class", async (t) => {
  const clock = new ManualClock();
  const limiter = createMemoryLimiter({ clock });
  t.after(() => limiter.close());
  const one = (name: string) => ({ name, points: 1, windowMs: 60_000 });
  const budgets: Budgets = {
    [LimitClass.READ]: one("read"),
    [LimitClass.WRITE]: one("write"),
    [LimitClass.SEND]: one("send"),
    [LimitClass.SEARCH]: one("search"),
  };
  const user = { getUser: () => ({}), updateProfile: () => ({}), searchUsers: () => ({}) };
  const gateway = await testService({ user, limiter, budgets });
  const messages = serve(MessageService, { send: () => ({}) } as never);
  const services = [UserService, MessageService];
  const served = [...gateway.served, messages];
  const throughGateway = localTransport(served, gateway.interceptors);
  const socket = methodTable(
    services.map((service) => ({ service, transport: localTransport(served, []) })),
    { limiter, budgets },
  );
  const { headers } = await gateway.authorized();
  const routes = {
    gateway: (method: DescMethodUnary, request: Message) =>
      throughGateway.unary(method, signal, undefined, headers, request),
    socket: (method: DescMethodUnary, request: Message) => {
      const name = `${method.parent.typeName}/${method.name}`;
      return socket.call(name, toBinary(method.input, request), new Headers(headers), signal, {
        userId: "1",
        role: "user",
      });
    },
  };
  const query = { case: "userNamePrefix", value: "an" } as const;
  const key = { case: "userId", value: "7" } as const;
  const content = { kind: { case: "text", value: { text: "hi" } } } as const;
  const calls: [DescMethodUnary, Message][] = [
    [UserService.method.getUser, create(GetUserRequestSchema, { key })],
    [UserService.method.updateProfile, create(UpdateProfileRequestSchema)],
    [UserService.method.searchUsers, create(SearchUsersRequestSchema, { query })],
    [
      MessageService.method.send,
      create(SendRequestSchema, { target: key, clientMessageId: "m", content }),
    ],
  ];
  for (const [method, request] of calls) {
    for (const [first, second] of [
      ["gateway", "socket"],
      ["socket", "gateway"],
    ] as const) {
      await routes[first](method, request);
      await assert.rejects(routes[second](method, request), (error) => {
        assert.equal(ErrorReason[reasonOf(error)], "RATE_LIMITED");
        assert.equal(Number(detailOf(error)?.retryAfterMs), 60_000);
        return true;
      });
      clock.advance(60_000);
    }
  }
});
