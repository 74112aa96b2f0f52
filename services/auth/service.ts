import type pg from "pg";
import { AuthService } from "../../gen/lucky/auth/v1/auth_pb.js";
import { SessionService } from "../../gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "../../gen/lucky/user/v1/user_pb.js";
import type { Clock, Timer } from "../../platform/clock.ts";
import type { Ids } from "../../platform/ids.ts";
import type { Log } from "../../platform/log.ts";
import type { Metrics } from "../../platform/metrics.ts";
import { type RunningService, serve } from "../../platform/rpc/served.ts";
import { createAccounts } from "./accounts.ts";
import { createAuth } from "./auth.ts";
import type { AuthConfig } from "./config.ts";
import { openDatabase } from "./database.ts";
import { loadKeys } from "./keys.ts";
import { createLogins } from "./logins.ts";
import { createPasswords } from "./passwords.ts";
import { createSealing } from "./sealing.ts";
import { createSession } from "./session.ts";
import { createAccessTokens } from "./tokens.ts";
import { createUser } from "./user.ts";

export interface AuthServiceDependencies {
  /** keyEncryptionKey must be given. */
  config: AuthConfig;
  log: Log;
  metrics: Metrics;
  /** A migrated database. The caller ends the pool. */
  pool: pg.Pool;
  /** Ids of new users. */
  ids: Ids;
  clock: Clock;
}

const TIDY_MS = 3_600_000;

/**
 * Starts auth: AuthService, UserService and SessionService. At the very first start it makes the
 * keys that all instances share. Throws when the key-encryption key is missing or the wrong one.
 */
export async function startAuth(d: AuthServiceDependencies): Promise<RunningService> {
  const { config, log, metrics, clock, ids } = d;
  const sealing = createSealing(config.keyEncryptionKey);
  const database = openDatabase(d.pool);
  const { passwordKeyBits } = config;
  const keys = await loadKeys({ database, sealing, passwordKeyBits, clock });
  const passwordKey = keys.password[0];
  if (!passwordKey) throw new Error("there is no key to encrypt passwords with");

  const accounts = createAccounts(database);
  const logins = createLogins({ config, database, clock, log });
  const passwords = await createPasswords({ config, keys: keys.password, metrics });
  const accessTokens = await createAccessTokens({ config, keys: keys.access, clock });
  const auth = createAuth({ accounts, logins, passwords, accessTokens, passwordKey, ids, clock });

  let tidying: Timer;
  const tidyLater = () => {
    tidying = clock.after(TIDY_MS, () => {
      logins
        .tidy()
        .catch((err: unknown) => log.warn({ event: "tidy_failed", err }))
        .finally(() => running && tidyLater());
    });
  };
  let running = true;
  tidyLater();
  return {
    served: [
      serve(AuthService, auth),
      serve(UserService, createUser(accounts)),
      serve(SessionService, createSession(logins, accounts)),
    ],
    ready: () => running,
    async stop() {
      if (!running) return;
      running = false;
      tidying.stop();
      await database.$disconnect();
    },
  };
}
