import type { Clock } from "#platform/clock.ts";
import type { Ids } from "#platform/ids.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Accounts } from "./accounts.ts";
import type { Audit } from "./audit.ts";
import type { Columns } from "./columns.ts";
import type { AuthConfig } from "./config.ts";
import type { Database } from "./database.ts";
import type { DevicePolicy } from "./device-policy.ts";
import type { Guard } from "./guard.ts";
import type { Issuer } from "./issuer.ts";
import type { Keyring } from "./keyring.ts";
import type { Logins } from "./logins.ts";
import type { Nonces } from "./nonces.ts";
import type { Notices } from "./notices.ts";
import type { Passwords } from "./passwords.ts";
import type { RevocationPages } from "./revocation-pages.ts";
import type { SmsCodes } from "./sms-codes.ts";
import type { AccessTokens } from "./tokens.ts";

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
  columns: Columns;
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
