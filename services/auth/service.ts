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
import { createAccounts } from "./accounts.ts";
import { createAdmin } from "./admin.ts";
import { createAudit } from "./audit.ts";
import { createAuth } from "./auth.ts";
import { type Chore, runChores } from "./chores.ts";
import { createCodes } from "./codes.ts";
import { createColumns } from "./columns.ts";
import type { AuthConfig } from "./config.ts";
import { openDatabase } from "./database.ts";
import type { AuthDependencies } from "./dependencies.ts";
import { createDevice } from "./device.ts";
import { createDevicePolicy } from "./device-policy.ts";
import { appointFirstAdmin } from "./first-admin.ts";
import { createGuard } from "./guard.ts";
import { createIssuer } from "./issuer.ts";
import { createKeyring } from "./keyring.ts";
import { createLoginNews } from "./login-news.ts";
import { createLogins } from "./logins.ts";
import { createNonces } from "./nonces.ts";
import { createNotices } from "./notices.ts";
import { createPasswords } from "./passwords.ts";
import { tidyQrLogins } from "./qr-tidy.ts";
import { createRevocationPages } from "./revocation-pages.ts";
import { createSealing } from "./sealing.ts";
import { sealAgain } from "./sealing-again.ts";
import { createSession } from "./session.ts";
import { createSmsCodes } from "./sms-codes.ts";
import { createSmsSender } from "./sms-sender.ts";
import { createAccessTokens } from "./tokens.ts";
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
  const sealing = createSealing(config.keyEncryptionKey, config.keyEncryptionKeyBefore);
  const sms = given.sms ?? createSmsSender(given);
  const database = openDatabase(given.pool);
  const keyring = await createKeyring({ config, database, sealing, clock });

  const columns = createColumns({ keyring, clock });
  const codes = createCodes({ keyring, clock });
  const nonces = createNonces({ config, database, keyring, clock });
  const news = createLoginNews({ bus, registry, log });
  const logins = createLogins({ config, database, clock, log, news });
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
    { name: "logins", everyMs: TIDY_MS, run: () => logins.tidy() },
    { name: "nonces", everyMs: TIDY_MS, run: () => nonces.tidy() },
    { name: "sms_codes", everyMs: TIDY_MS, run: () => d.smsCodes.tidy() },
    { name: "qr_logins", everyMs: TIDY_MS, run: () => tidyQrLogins(d) },
    { name: "keys", everyMs: config.keyRefreshSeconds * 1_000, run: () => keyring.turn() },
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
