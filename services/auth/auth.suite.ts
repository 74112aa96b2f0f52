import assert from "node:assert/strict";
import { constants, createPublicKey, publicEncrypt, randomBytes } from "node:crypto";
import { type Client, createClient } from "@connectrpc/connect";
import { AuthService, DeviceClass, type Tokens } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { SessionService } from "../../gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "../../gen/lucky/user/v1/user_pb.js";
import { defaultsOf } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import { createIds, type Ids } from "../../platform/ids.ts";
import { Metrics } from "../../platform/metrics.ts";
import { createPool } from "../../platform/postgres/pool.ts";
import { serverInterceptors } from "../../platform/rpc/interceptors.ts";
import { localTransport } from "../../platform/rpc/local.ts";
import { createTokenVerifier, type TokenVerifier } from "../../platform/tokens.ts";
import { HandClock } from "../../test/clock.ts";
import { quiet } from "../../test/postgres.ts";
import { type AuthConfig, authConfig } from "./config.ts";
import { startAuth } from "./service.ts";
import { AUDIENCE, ISSUER } from "./tokens.ts";

/** The key-encryption key of tests, unless they give their own. */
export const testKey = Buffer.alloc(32, 7).toString("base64");
export const goodPassword = "correct horse";

const meshSecret = "a mesh secret of tests, long enough";

/** One running instance of auth, called through the interceptors of a server. */
export interface TestAuth {
  auth: Client<typeof AuthService>;
  users: Client<typeof UserService>;
  sessions: Client<typeof SessionService>;
  verifier: TokenVerifier;
  metrics: Metrics;
  clock: HandClock;
  /** Encrypts as a client does. */
  encrypt(password: string): Promise<{ keyId: string; ciphertext: Uint8Array }>;
  /** Registers a user with the good password and a fresh name. */
  register(): Promise<{ userName: string; userId: string }>;
  login(userName: string, deviceId?: string): Promise<Tokens>;
  /** Headers of a call with an access token. */
  as(tokens: Tokens): { headers: { authorization: string } };
}

interface Options {
  url: string;
  t: { after(close: () => Promise<void>): void };
  config?: Partial<AuthConfig>;
  clock?: HandClock;
  ids?: Ids;
}

let workers = 0;

/** Starts an instance on a migrated database; it stops at the end of the test. */
export async function startTestAuth(options: Options): Promise<TestAuth> {
  const { url, t, clock = new HandClock() } = options;
  const config = {
    ...defaultsOf(authConfig),
    keyEncryptionKey: testKey,
    passwordKeyBits: 2_048,
    hashMemoryKib: 8_192,
    hashIterations: 1,
    ...options.config,
  };
  const metrics = new Metrics();
  const pool = createPool({ url, max: 8, log: quiet, name: "auth" });
  t.after(() => pool.end());
  const worker = workers++;
  const ids = options.ids ?? createIds({ worker: () => worker, clock });
  const running = await startAuth({ config, log: quiet, metrics, pool, ids, clock });
  t.after(() => running.stop());

  const verifier = createTokenVerifier({
    jwks: async () => (await auth.getJwks({})).jwksJson,
    issuer: ISSUER,
    audience: AUDIENCE,
    clock,
    revocations: { revoked: () => false },
  });
  const chain = { log: quiet, metrics, clock, verifier, meshSecret, trustMesh: true };
  const transport = localTransport(running.served, serverInterceptors(chain), { meshSecret });
  const auth = createClient(AuthService, transport);

  async function encrypt(password: string) {
    const { keyId, spki } = await auth.getPublicKey({});
    const key = createPublicKey({ key: Buffer.from(spki), type: "spki", format: "der" });
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    const ciphertext = publicEncrypt({ key, padding, oaepHash: "sha256" }, Buffer.from(password));
    return { keyId, ciphertext: new Uint8Array(ciphertext) };
  }

  return {
    auth,
    users: createClient(UserService, transport),
    sessions: createClient(SessionService, transport),
    verifier,
    metrics,
    clock,
    encrypt,
    async register() {
      const userName = `user-${randomBytes(6).toString("hex")}`;
      const { user } = await auth.register({ userName, password: await encrypt(goodPassword) });
      return { userName, userId: user!.userId };
    },
    async login(userName, deviceId = "phone") {
      const { tokens } = await auth.login({
        userName,
        password: await encrypt(goodPassword),
        device: { deviceId, deviceClass: DeviceClass.MOBILE },
      });
      return tokens!;
    },
    as: (tokens) => ({ headers: { authorization: `Bearer ${tokens.accessToken}` } }),
  };
}

/** Asserts that a call fails with the reason. */
export async function refused(call: Promise<unknown>, reason: ErrorReason): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.equal(ErrorReason[reasonOf(error)], ErrorReason[reason]);
    return true;
  });
}
