import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { testService } from "#platform/rpc/rpc.fixture.ts";
import { transportSuite } from "#platform/rpc/transport/transport.suite.ts";
import { localTransport } from "./local.ts";

transportSuite("local", async (_t, { served, interceptors }) =>
  localTransport(served, interceptors, { caller: "server" }),
);

test("local: without a calling service internal methods are refused", async () => {
  const { served, interceptors } = await testService({ session: { checkUsers: () => ({}) } });
  const client = createClient(SessionService, localTransport(served, interceptors));
  const error = await client.checkUsers({}).catch((thrown: unknown) => thrown);
  assert.equal(reasonOf(error), ErrorReason.PERMISSION_DENIED);
});

test("local: a service that is not served is METHOD_NOT_FOUND", async () => {
  const { interceptors } = await testService();
  const transport = localTransport([], interceptors, { caller: "server" });
  const client = createClient(AuthService, transport);
  const error = await client.getJwks({}).catch((thrown: unknown) => thrown);
  assert.equal(reasonOf(error), ErrorReason.METHOD_NOT_FOUND);
  const messages = createClient(MessageService, transport);
  const other = await messages.sync({}).catch((thrown: unknown) => thrown);
  assert.equal(reasonOf(other), ErrorReason.TOKEN_INVALID);
});
