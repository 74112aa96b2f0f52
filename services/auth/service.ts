import type pg from "pg";
import { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock } from "#platform/clock.ts";
import type { Ids } from "#platform/ids.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { type RunningService, serve } from "#platform/rpc/served.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import { createAccounts } from "./accounts/accounts.ts";
import { createAudit } from "./accounts/audit.ts";
import { createAdmin } from "./admin/admin.ts";
import { appointFirstAdmin } from "./admin/first-admin.ts";
import { sealAgain } from "./admin/sealing-again.ts";
import { createAuth } from "./auth.ts";
import { type Chore, runChores } from "./chores.ts";
import type { AuthConfig } from "./config.ts";
import { createGuard } from "./credentials/guard.ts";
import { createNonces } from "./credentials/nonces.ts";
import { createNotices } from "./credentials/notices.ts";
import { createPasswords } from "./credentials/passwords.ts";
import { createSmsCodes } from "./credentials/sms-codes.ts";
import { createSmsSender } from "./credentials/sms-sender.ts";
import { openDatabase } from "./database.ts";
import type { AuthDependencies } from "./dependencies.ts";
import { createDevice } from "./device.ts";
import { createCodes } from "./keys/codes.ts";
import { createColumnEncryption } from "./keys/column-encryption.ts";
import { createKeyEncryption } from "./keys/key-encryption.ts";
import { createKeyring } from "./keys/keyring.ts";
import { createDevicePolicy } from "./logins/device-policy.ts";
import { createIssuer } from "./logins/issuer.ts";
import { createLogins } from "./logins/logins.ts";
import { createRevocationNotifier } from "./logins/revocation-notifier.ts";
import { createRevocationPages } from "./logins/revocation-pages.ts";
import { createAccessTokens } from "./logins/tokens.ts";
import { deleteExpiredQrLogins } from "./qr-login/qr-cleanup.ts";
import { createSession } from "./session.ts";
import { createUser } from "./user.ts";

export interface AuthServiceDependencies {
  /** keyEncryptionKey must be given. */
  config: AuthConfig;
  log: Log;
  metrics: Metrics;
  /** A migrated database. The caller ends the pool. */
  pool: pg.Pool;
  /** The way to gateways and connect instances. The caller closes them. */
  bus: Bus;
  registry: Registry;
  /** What attempts and codes are counted with. The caller closes it. */
  limiter: Limiter;
  /** Sends codes; the configured sender when absent. Closed with the service. */
  sms?: SmsSender;
  /** Ids of new users. */
  ids: Ids;
  clock: Clock;
}

const TIDY_MS = 3_600_000;

/**
 * Starts auth: AuthService, DeviceService, UserService, AdminService and SessionService. At the very
 * first start it makes the keys that all instances share. Throws when the key-encryption key is
 * missing or the wrong one.
 */
export async function startAuth(given: AuthServiceDependencies): Promise<RunningService> {
  const { config, log, metrics, clock, ids, bus, registry, limiter } = given;
  const keyEncryption = createKeyEncryption(config.keyEncryptionKey, config.keyEncryptionKeyBefore);
  const sms = given.sms ?? createSmsSender(given);
  const database = openDatabase(given.pool);
  const keyring = await createKeyring({ config, database, keyEncryption, clock });

  const columns = createColumnEncryption({ keyring, clock });
  const codes = createCodes({ keyring, clock });
  const nonces = createNonces({ config, database, keyring, clock });
  const notifier = createRevocationNotifier({ bus, registry, log });
  const logins = createLogins({ config, database, clock, log, notifier });
  const accessTokens = await createAccessTokens({ config, keyring, clock });
  const devicePolicy = createDevicePolicy({ config, database });
  const d: AuthDependencies = {
    config,
    database,
    accounts: createAccounts({ database, columns }),
    logins,
    revocationPages: createRevocationPages({ pool: given.pool, clock }),
    issuer: createIssuer({ logins, accessTokens, devicePolicy }),
    accessTokens,
    passwords: await createPasswords({ config, keyring, nonces, clock, metrics }),
    nonces,
    keyring,
    columns,
    smsCodes: createSmsCodes({
      config,
      database,
      codes,
      columns,
      sms,
      limiter,
      clock,
      log,
      metrics,
    }),
    guard: createGuard({ config, limiter }),
    audit: createAudit({ clock }),
    notices: createNotices({ bus, registry, clock, log }),
    devicePolicy,
    limiter,
    ids,
    clock,
    log,
    metrics,
  };
  await appointFirstAdmin(d);

  const chores: Chore[] = [
    { name: "logins", everyMs: TIDY_MS, run: () => logins.deleteExpired() },
    { name: "nonces", everyMs: TIDY_MS, run: () => nonces.tidy() },
    { name: "sms_codes", everyMs: TIDY_MS, run: () => d.smsCodes.tidy() },
    { name: "qr_logins", everyMs: TIDY_MS, run: () => deleteExpiredQrLogins(d) },
    { name: "keys", everyMs: config.keyRefreshSeconds * 1_000, run: () => keyring.rotate() },
    { name: "seal_again", everyMs: config.sealAgainPauseMs, run: () => sealAgain(d) },
  ];
  const doing = runChores(chores, { clock, log });
  let running = true;
  return {
    served: [
      serve(AuthService, createAuth(d)),
      serve(DeviceService, createDevice(d)),
      serve(UserService, createUser(d)),
      serve(AdminService, createAdmin(d)),
      serve(SessionService, createSession(d)),
    ],
    ready: () => running,
    async stop() {
      if (!running) return;
      running = false;
      await doing.stop();
      await sms.close();
      await database.$disconnect();
    },
  };
}
