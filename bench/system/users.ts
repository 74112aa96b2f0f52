import { randomUUID } from "node:crypto";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { systemClock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { createIds } from "#platform/ids.ts";
import { createLog } from "#platform/log.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { LuckyClient } from "../../client/client.ts";
import { authConfig } from "../../services/auth/config.ts";
import { openDatabase } from "../../services/auth/database.ts";
import { createIdPermutation } from "../../services/auth/keys/id-permutation.ts";
import { createKeyEncryption } from "../../services/auth/keys/key-encryption.ts";
import { createKeyring } from "../../services/auth/keys/keyring.ts";
import { createAccessTokens } from "../../services/auth/logins/tokens.ts";
import { withCleanUp } from "./database.ts";
import type { System } from "./system.ts";

/** Maximum users that register and log in by calls; further ones are written into auth's tables. */
const MAX_REGISTERED = 500;
const CONCURRENT_LOGINS = 8;
const TOKEN_SECONDS = 86_400;
const PASSWORD = "a password for a bench";

/** A user with a device that is logged in. */
export interface User {
  readonly userId: string;
  readonly accessToken: string;
}

/** How users were created, for the report. */
export type Origin = "registered" | "minted";

/**
 * Creates users with one device each. Up to `MAX_REGISTERED` register and log in by calls. Registering
 * thousands would take minutes of password hashing, so the bench writes their accounts and logins into auth's
 * tables, and signs their tokens with auth's key and functions.
 */
export async function makeUsers(
  system: System,
  count: number,
): Promise<{ users: User[]; origin: Origin }> {
  const origin = count > MAX_REGISTERED ? "minted" : "registered";
  const begunMs = performance.now();
  const users = await (origin === "minted" ? mint(system, count) : register(system, count));
  const seconds = ((performance.now() - begunMs) / 1_000).toFixed(1);
  console.log(`${count} users ${origin} in ${seconds} s`);
  return { users, origin };
}

async function register({ url }: System, count: number): Promise<User[]> {
  const users: User[] = [];
  const run = Date.now().toString(36);
  const indexes = Array.from({ length: count }, (_, index) => index).values();
  const work = async () => {
    for (const index of indexes) {
      const device = { deviceId: `bench-${index}`, deviceClass: DeviceClass.BOT };
      const client = new LuckyClient({ url, device });
      const name = `bench-${run}-${index}`;
      await client.register(name, PASSWORD);
      const { userId } = await client.login(name, PASSWORD);
      users[index] = { userId, accessToken: client.tokens!.accessToken };
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_LOGINS }, work));
  return users;
}

async function mint(system: System, count: number): Promise<User[]> {
  const clock = systemClock;
  const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
  return withCleanUp(async (started) => {
    const pool = createPool({ url: system.postgresUrl, max: 4, log, name: "bench" });
    started.push(() => pool.end());
    const database = openDatabase(pool);
    started.push(() => database.$disconnect());
    const worker = await holdWorker({ pool, clock, holder: "bench", log });
    started.push(() => worker.release());
    const ids = createIds({ window: worker.window, clock });
    const config = { ...defaultsOf(authConfig), accessTokenSeconds: TOKEN_SECONDS };
    const keyEncryption = createKeyEncryption(system.keyEncryptionKey);
    const keyring = await createKeyring({ config, database, keyEncryption, clock });
    const tokens = await createAccessTokens({ config, keyring, clock });

    const run = Date.now().toString(36);
    const permutation = createIdPermutation(keyring.keys.userId[0]!.secret);
    const userIds = ids.take(count).map((id) => String(permutation.apply(id)));
    const names = userIds.map((_, index) => `bench-${run}-${index}`);
    const loginIds = userIds.map(() => randomUUID());
    const deviceIds = userIds.map((_, index) => `bench-${index}`);
    await pool.query(
      `INSERT INTO auth.account (user_id, user_name, user_name_key, display_name, password_hash)
       SELECT user_id, name, name, name, 'none: nobody logs in'
         FROM unnest($1::bigint[], $2::text[]) AS u(user_id, name)`,
      [userIds, names],
    );
    await pool.query(
      `INSERT INTO auth.login (login_id, user_id, device_id, device_class, device_name,
                               client_version, created_at, last_refreshed_at, access_expires_at)
       SELECT login_id, user_id, device_id, $4, 'bench', 'bench', now(), now(),
              now() + make_interval(secs => $5)
         FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS l(login_id, user_id, device_id)`,
      [loginIds, userIds, deviceIds, DeviceClass.BOT, TOKEN_SECONDS],
    );
    const expiresAtMs = tokens.expiryMs();
    return Promise.all(
      userIds.map(async (userId, index) => {
        const loginId = loginIds[index]!;
        const deviceId = deviceIds[index]!;
        const deviceClass = DeviceClass.BOT;
        const subject = { userId, loginId, deviceId, deviceClass, role: "user" };
        return { userId, accessToken: await tokens.sign(subject, expiresAtMs) };
      }),
    );
  });
}
