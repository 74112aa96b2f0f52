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
import type { Pool } from "#platform/postgres/pool.ts";
import { watchPool } from "#platform/postgres/pool-state.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { type RunningService, serve } from "#platform/rpc/served.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import { endsWithin } from "#platform/waiting.ts";
import { createAccountChanges } from "./accounts/account-changes.ts";
import { createAccounts } from "./accounts/accounts.ts";
import { createAudit } from "./accounts/audit.ts";
import { createAdmin } from "./admin/admin.ts";
import { createAuditedChanges } from "./admin/audited-changes.ts";
import { appointFirstAdmin } from "./admin/first-admin.ts";
import { reencrypt } from "./admin/reencryption.ts";
import type { AuthConfig } from "./config.ts";
import { createBruteForceGuard } from "./credentials/brute-force-guard.ts";
import { createNonces } from "./credentials/nonces.ts";
import { createPasswordPolicy } from "./credentials/password-policy.ts";
import { createPasswords } from "./credentials/passwords.ts";
import { createProvenChanges } from "./credentials/proven-changes.ts";
import { createSmsCodes } from "./credentials/sms-codes.ts";
import { createSmsSender } from "./credentials/sms-sender.ts";
import { createStrengthEstimator } from "./credentials/strength-estimator.ts";
import { openDatabase } from "./database.ts";
import { createDevice } from "./device.ts";
import { createCodes } from "./keys/codes.ts";
import { createColumnEncryption } from "./keys/column-encryption.ts";
import { createKeyEncryption } from "./keys/key-encryption.ts";
import { createKeyring } from "./keys/keyring.ts";
import { createUserIds } from "./keys/user-ids.ts";
import { createDevicePolicy } from "./logins/device-policy.ts";
import { createIssuer } from "./logins/issuer.ts";
import { createLogins } from "./logins/logins.ts";
import { createRevocationNotifier } from "./logins/revocation-notifier.ts";
import { createRevocationPages } from "./logins/revocation-pages.ts";
import { createAccessTokens } from "./logins/tokens.ts";
import { createNoticeList } from "./notices/notice-list.ts";
import { createSecurityNotices } from "./notices/security-notices.ts";
import { createAccountDeletion } from "./own-account/account-deletion.ts";
import { createPasswordChange } from "./own-account/password-change.ts";
import { createPhoneBinding } from "./own-account/phone-binding.ts";
import { createProfile } from "./own-account/profile.ts";
import { createSearch } from "./own-account/search.ts";
import { runPeriodicJobs } from "./periodic-jobs.ts";
import { deleteExpiredQrLogins } from "./qr-login/qr-cleanup.ts";
import { createQrLogins } from "./qr-login/qr-login.ts";
import { createPhoneRegistration } from "./registration/phone-registration.ts";
import { createRegistration } from "./registration/registration.ts";
import { createRegistrationKeys } from "./registration/registration-keys.ts";
import { createSession } from "./session.ts";
import { createLogin } from "./sign-in/login.ts";
import { createLogout } from "./sign-in/logout.ts";
import { createPublicKeys } from "./sign-in/public-keys.ts";
import { createRefresh } from "./sign-in/refresh.ts";
import { createSmsLogin } from "./sign-in/sms-login.ts";
import { createUser } from "./user.ts";

export interface AuthServiceDependencies {
  /** `keyEncryptionKey` is required. */
  config: AuthConfig;
  log: Log;
  metrics: Metrics;
  /** Connections to a migrated database. The caller ends the pool. */
  pool: Pool;
  /**
   * Carries revocations and security notices to gateway and connect instances. The caller closes
   * it.
   */
  bus: Bus;
  /** Finds those instances. The caller closes it. */
  registry: Registry;
  /** Counts login attempts and SMS codes over all instances. The caller closes it. */
  limiter: Limiter;
  /** Sends SMS codes; the configured sender when absent. The service closes it. */
  sms?: SmsSender;
  /** Snowflakes, from which the ids of new users are made. */
  ids: Pick<Ids, "next">;
  clock: Clock;
}

export interface Auth extends RunningService {
  /** Whether the database cannot be reached, so that other instances may serve better. */
  impaired(): boolean;
  /** Wait for a connection to the database, ms. */
  databaseWaitMs(): number;
}

/** Time-out of the jobs in progress, and of the clients of the database, when auth stops, ms. */
const STOP_TIMEOUT_MS = 1_000;
/** Pause between two clean-ups of expired rows. */
const CLEANUP_INTERVAL_MS = 3_600_000;

/**
 * Starts auth: AuthService, DeviceService, UserService, AdminService and SessionService. The first
 * start creates the keys that all instances share. Throws when the key-encryption key is missing or
 * wrong.
 */
export async function startAuth(given: AuthServiceDependencies): Promise<Auth> {
  const { clock, config, log } = given;
  const state = watchPool(given.pool, clock);
  const parts = await createParts(given);
  const { keyring, logins, nonces, notices, registrationKeys, smsCodes } = parts;
  await appointFirstAdmin(parts);

  const jobs = runPeriodicJobs(
    [
      { name: "logins", pauseMs: CLEANUP_INTERVAL_MS, run: () => logins.deleteExpired() },
      { name: "nonces", pauseMs: CLEANUP_INTERVAL_MS, run: () => nonces.deleteExpired() },
      { name: "sms_codes", pauseMs: CLEANUP_INTERVAL_MS, run: () => smsCodes.deleteExpired() },
      { name: "qr_logins", pauseMs: CLEANUP_INTERVAL_MS, run: () => deleteExpiredQrLogins(parts) },
      { name: "notices", pauseMs: CLEANUP_INTERVAL_MS, run: () => notices.deleteExpired() },
      {
        name: "registration_keys",
        pauseMs: CLEANUP_INTERVAL_MS,
        run: () => registrationKeys.deleteExpired(),
      },
      { name: "keys", pauseMs: config.keyRefreshSeconds * 1_000, run: () => keyring.rotate() },
      { name: "reencryption", pauseMs: config.sealAgainPauseMs, run: () => reencrypt(parts) },
    ],
    { clock, log },
  );
  let running = true;
  return {
    served: [
      serve(AuthService, {
        ...createPublicKeys(parts),
        ...createRegistration(parts),
        ...createPhoneRegistration(parts),
        ...createLogin(parts),
        ...createSmsLogin(parts),
        ...createQrLogins(parts),
        ...createRefresh(parts),
        ...createLogout(parts),
        ...createPasswordChange(parts),
        ...createPhoneBinding(parts),
        ...createAccountDeletion(parts),
      }),
      serve(DeviceService, { ...createDevice(parts), ...createNoticeList(parts) }),
      serve(UserService, {
        ...createUser(parts),
        ...createProfile(parts),
        ...createSearch(parts),
      }),
      serve(AdminService, createAdmin(parts)),
      serve(SessionService, createSession(parts)),
    ],
    ready: () => running,
    impaired: () => state.unreachable,
    databaseWaitMs: () => state.waitMs,
    async stop() {
      if (!running) return;
      running = false;
      // The end of the pool and of the process rolls back what a database that hangs does not answer.
      await endsWithin(STOP_TIMEOUT_MS, jobs.stop());
      await parts.estimator.stop();
      await parts.sms.close();
      await endsWithin(STOP_TIMEOUT_MS, parts.database.$disconnect());
    },
  };
}

/** Composes the parts of auth. Every method and job declares the parts that it uses. */
async function createParts(given: AuthServiceDependencies) {
  const { bus, clock, config, ids, limiter, log, metrics, pool, registry } = given;
  const keyEncryption = createKeyEncryption(config.keyEncryptionKey, config.keyEncryptionKeyBefore);
  const sms = given.sms ?? createSmsSender({ clock, config, log, metrics });
  const database = openDatabase(pool);
  const keyring = await createKeyring({ config, database, keyEncryption, clock });

  const columns = createColumnEncryption({ keyring, clock });
  const codes = createCodes({ keyring, clock });
  const nonces = createNonces({ config, database, keyring, clock });
  const notifier = createRevocationNotifier({ bus, registry, log });
  const notices = createSecurityNotices({ bus, clock, database, log, registry });
  const logins = createLogins({ config, database, clock, log, notices, notifier });
  const accessTokens = await createAccessTokens({ config, keyring, clock });
  const estimator = createStrengthEstimator({ clock, log });
  const devicePolicy = createDevicePolicy({ config, database });
  const accounts = createAccounts({ database, columns });
  const guard = createBruteForceGuard({ config, limiter });
  const passwords = await createPasswords({ config, keyring, nonces, clock, metrics });
  const audit = createAudit({ clock });
  const smsCodes = createSmsCodes({
    clock,
    codes,
    columns,
    config,
    database,
    limiter,
    log,
    metrics,
    sms,
  });
  return {
    accessTokens,
    accountChanges: createAccountChanges({ pool }),
    accounts,
    audit,
    changes: createAuditedChanges({ audit, database, logins }),
    clock,
    columns,
    config,
    database,
    devicePolicy,
    estimator,
    guard,
    issuer: createIssuer({ logins, accessTokens, devicePolicy }),
    keyring,
    limiter,
    log,
    logins,
    metrics,
    nonces,
    notices,
    passwordPolicy: createPasswordPolicy(config, estimator),
    passwords,
    provenChanges: createProvenChanges({ accounts, columns, guard, logins, passwords, smsCodes }),
    registrationKeys: createRegistrationKeys({ clock, database }),
    revocationPages: createRevocationPages({ pool, clock }),
    sms,
    smsCodes,
    userIds: createUserIds({ database, ids, keyring }),
  };
}
