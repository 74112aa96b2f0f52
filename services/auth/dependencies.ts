import type { Clock } from "#platform/clock.ts";
import type { Ids } from "#platform/ids.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Accounts } from "./accounts/accounts.ts";
import type { Audit } from "./accounts/audit.ts";
import type { AuthConfig } from "./config.ts";
import type { Guard } from "./credentials/guard.ts";
import type { Nonces } from "./credentials/nonces.ts";
import type { Notices } from "./credentials/notices.ts";
import type { Passwords } from "./credentials/passwords.ts";
import type { SmsCodes } from "./credentials/sms-codes.ts";
import type { Database } from "./database.ts";
import type { ColumnEncryption } from "./keys/column-encryption.ts";
import type { Keyring } from "./keys/keyring.ts";
import type { DevicePolicy } from "./logins/device-policy.ts";
import type { Issuer } from "./logins/issuer.ts";
import type { Logins } from "./logins/logins.ts";
import type { RevocationPages } from "./logins/revocation-pages.ts";
import type { AccessTokens } from "./logins/tokens.ts";

/** What the methods of auth stand on; each takes what it needs. */
export interface AuthDependencies {
  config: AuthConfig;
  database: Database;
  accounts: Accounts;
  logins: Logins;
  revocationPages: RevocationPages;
  issuer: Issuer;
  accessTokens: AccessTokens;
  passwords: Passwords;
  nonces: Nonces;
  keyring: Keyring;
  columns: ColumnEncryption;
  smsCodes: SmsCodes;
  guard: Guard;
  audit: Audit;
  notices: Notices;
  devicePolicy: DevicePolicy;
  limiter: Limiter;
  ids: Ids;
  clock: Clock;
  log: Log;
  metrics: Metrics;
}
