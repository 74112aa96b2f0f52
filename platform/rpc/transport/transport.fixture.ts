import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { type Client, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import {
  type TestService,
  type TestServiceOptions,
  testService,
} from "#platform/rpc/rpc.fixture.ts";

/** Connects a client to the services of a test. It is called for each test. */
export type Reach = (t: TestContext, service: TestService) => Promise<Transport>;

/** Starts the services of a test, and clients that call them through the transport under test. */
export type Start = (t: TestContext, options: TestServiceOptions) => Promise<StartedService>;

export interface StartedService extends TestService {
  readonly auth: Client<typeof AuthService>;
  readonly user: Client<typeof UserService>;
  readonly session: Client<typeof SessionService>;
}

export function startWith(reach: Reach): Start {
  return async (t, options) => {
    const service = await testService(options);
    const transport = await reach(t, service);
    return {
      ...service,
      auth: createClient(AuthService, transport),
      user: createClient(UserService, transport),
      session: createClient(SessionService, transport),
    };
  };
}

/** The error of a call. An answered call fails the test. */
export async function refused(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof ConnectError);
    return error;
  }
  assert.fail("the call was answered");
}

/** A request of WatchQrLogin. */
export const watched = { qrLoginId: "i".repeat(22), secret: "s".repeat(43), deviceId: "d1" };

/** All answers of a stream. */
export async function take<T>(answers: AsyncIterable<T>): Promise<T[]> {
  const taken: T[] = [];
  for await (const answer of answers) taken.push(answer);
  return taken;
}
