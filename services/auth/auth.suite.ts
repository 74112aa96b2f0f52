import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type Client, createClient } from "@connectrpc/connect";
import { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import { AuthService, DeviceClass, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { reasonOf } from "#platform/errors.ts";
import { meshCallers } from "#platform/identity/mesh-callers.ts";
import {
  AUDIENCE,
  createTokenVerifier,
  ISSUER,
  type TokenVerifier,
} from "#platform/identity/tokens.ts";
import { allTimesOf } from "#platform/ids.fixture.ts";
import { createIds, type Ids } from "#platform/ids.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import type { Log } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { createPool, type Pool } from "#platform/postgres/pool.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import type { ServiceName } from "#platform/service-name.ts";
import type { Sms } from "#platform/sms/sms.ts";
import { type SealedPassword, sealPassword } from "../../client/login/password.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { type AuthConfig, authConfig } from "./config.ts";
import { startAuth } from "./service.ts";

/** The default key-encryption key of tests. */
export const TEST_KEY = Buffer.alloc(32, 7).toString("base64");
export const GOOD_PASSWORD = "correct horse";

/** One running instance of auth, called through the interceptors of a server. */
export interface TestAuth {
  auth: Client<typeof AuthService>;
  devices: Client<typeof DeviceService>;
  users: Client<typeof UserService>;
  admin: Client<typeof AdminService>;
  sessions: Client<typeof SessionService>;
  verifier: TokenVerifier;
  metrics: Metrics;
  clock: ManualClock;
  bus: Bus;
  registry: Registry;
  /** SMS messages sent so far, oldest first. */
  messages: readonly Sms[];
  /** Encrypts a password as a client does. The result is valid for one request. */
  encrypt(password: string): Promise<SealedPassword>;
  /** Encrypts the passwords of one request, which share a nonce. */
  encryptAll<const L extends readonly string[]>(
    ...passwords: L
  ): Promise<{ -readonly [I in keyof L]: SealedPassword }>;
  /** Registers a user with GOOD_PASSWORD and a random name. */
  register(): Promise<{ userName: string; userId: string }>;
  login(userName: string, deviceId?: string): Promise<Tokens>;
  /** Call options that carry the access token. */
  as(tokens: Tokens): { headers: { authorization: string } };
}

interface Options {
  url: string;
  t: { after(close: () => Promise<void>): void };
  config?: Partial<AuthConfig>;
  clock?: ManualClock;
  ids?: Pick<Ids, "next">;
  /** Connections to the database of `url`; the caller ends the pool. */
  pool?: Pool;
  /** Log of the calls. */
  log?: Log;
}

let workers = 0;

/** Starts an instance on a migrated database. It stops at the end of the test. */
export async function startTestAuth(options: Options): Promise<TestAuth> {
  const { url, t, clock = new ManualClock() } = options;
  const config = {
    ...defaultsOf(authConfig),
    keyEncryptionKey: TEST_KEY,
    passwordKeyBits: 2_048,
    hashMemoryKib: 8_192,
    hashIterations: 1,
    // The thread that estimates passwords takes a second of CPU to start.
    passwordMinScore: 0,
    ...options.config,
  };
  const metrics = new Metrics();
  const pool = options.pool ?? createPool({ url, max: 8, log: quiet, name: "auth" });
  if (options.pool === undefined) t.after(() => pool.end());
  const worker = workers++;
  const ids = options.ids ?? createIds({ window: allTimesOf(worker), clock });
  const bus = createMemoryBus();
  t.after(() => bus.close());
  const registry = createMemoryRegistry({ clock });
  t.after(() => registry.close());
  const limiter = createMemoryLimiter({ clock });
  t.after(() => limiter.close());
  const messages: Sms[] = [];
  const sms = { send: async (one: Sms) => void messages.push(one), close: async () => {} };
  const shared = { log: quiet, metrics, pool, bus, registry, limiter, sms, ids, clock };
  const running = await startAuth({ config, ...shared });
  t.after(() => running.stop());

  const verifier = createTokenVerifier({
    jwks: async () => (await auth.getJwks({})).jwksJson,
    issuer: ISSUER,
    audience: AUDIENCE,
    clock,
    revocations: { revoked: () => false, keyState: () => "unknown" },
  });
  const { log = quiet } = options;
  const chain = { log, metrics, clock, verifier, mesh: meshCallers({}) };
  const { interceptors } = serverInterceptors(chain);
  const transportOf = (caller: ServiceName) =>
    localTransport(running.served, interceptors, { caller });
  const transport = transportOf("connect");
  const auth = createClient(AuthService, transport);

  const encrypt = async (password: string) => sealPassword(await auth.getPublicKey({}), password);

  return {
    auth,
    devices: createClient(DeviceService, transport),
    users: createClient(UserService, transport),
    admin: createClient(AdminService, transport),
    sessions: {
      ...createClient(SessionService, transport),
      checkUsers: createClient(SessionService, transportOf("server")).checkUsers,
      listAccountChanges: createClient(SessionService, transportOf("server")).listAccountChanges,
    },
    verifier,
    metrics,
    clock,
    bus,
    registry,
    messages,
    encrypt,
    async encryptAll(...passwords) {
      const key = await auth.getPublicKey({});
      return Promise.all(passwords.map((password) => sealPassword(key, password))) as never;
    },
    async register() {
      const userName = `user-${randomBytes(6).toString("hex")}`;
      const { user } = await auth.register({ userName, password: await encrypt(GOOD_PASSWORD) });
      return { userName, userId: user!.userId };
    },
    async login(userName, deviceId = "phone") {
      const { tokens } = await auth.login({
        userName,
        password: await encrypt(GOOD_PASSWORD),
        device: { deviceId, deviceClass: DeviceClass.MOBILE },
      });
      return tokens!;
    },
    as: (tokens) => ({ headers: { authorization: `Bearer ${tokens.accessToken}` } }),
  };
}

/** The proof by a refresh token. */
export const proofBy = ({ refreshToken }: Tokens) => ({
  kind: { case: "refreshToken", value: refreshToken } as const,
});

/** Asserts that a call fails with the reason. */
export async function refused(call: Promise<unknown>, reason: ErrorReason): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.equal(ErrorReason[reasonOf(error)], ErrorReason[reason]);
    return true;
  });
}
