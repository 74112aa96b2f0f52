import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import {
  BatchGetUsersRequestSchema,
  BatchGetUsersResponseSchema,
  UserService,
} from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { MESH_SECRET, testService } from "#platform/rpc/rpc.fixture.ts";
import { localTransport } from "./local.ts";
import { methodTable } from "./method-table.ts";

const { served, interceptors, authorized } = await testService({
  user: {
    batchGetUsers: ({ userIds }, context) => ({
      users: [...userIds, userOf(context).userId].map((userId) => ({ userId })),
    }),
  },
  session: { checkUsers: () => ({}) },
});
const transport = localTransport(served, interceptors, { meshSecret: MESH_SECRET });
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
