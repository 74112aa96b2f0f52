/**
 * `npm run migrate`: applies all migrations as the user of LUCKY_MIGRATE_POSTGRES_URL, and makes the
 * roles of auth and server. Can be repeated.
 */
import { realpathSync } from "node:fs";
import { loadConfig } from "#platform/config/config.ts";
import { migrateConfig, platformConfig, postgresAddress } from "#platform/config/settings.ts";
import { createLog } from "#platform/log.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { grantRoles } from "#platform/postgres/roles.ts";
import { messageOf } from "#platform/process/process.ts";
import { authConfig } from "./auth/config.ts";
import type { Environment } from "./runtime.ts";
import { serverConfig } from "./server/config.ts";
import { PLANNER_SETTINGS } from "./server/log/database.ts";

/** Reads the settings of a migration. Throws a ConfigError. */
export function loadMigrationConfig(env: Environment) {
  const tables = {
    platform: platformConfig,
    migrate: migrateConfig,
    auth: authConfig,
    server: serverConfig,
  };
  return loadConfig(tables, {
    env,
    oneOf: { key: "postgresUrl", tables: ["migrate", "platform"] },
    others: ["limits", "gateway", "connect"],
  });
}

/**
 * Applies the migrations, and gives the roles of auth and server their rights. Their users are those
 * of the URLs that auth and server have in this environment. Rejects with an error for operators.
 */
export async function migrateDatabase(env: Environment): Promise<void> {
  const { platform, migrate: own, auth, server } = loadMigrationConfig(env);
  const log = createLog({ service: "migrate", instanceId: "migrate", level: platform.logLevel });
  const owner = postgresAddress("migrate", own, platform);
  /** The address of a service; the owner's for a service that has none here. */
  const addressOf = (table: string, config: { readonly postgresUrl: string }) => {
    const address = postgresAddress(table, config, platform);
    return address.url === "" ? owner : address;
  };
  await migrate({ ...owner, log });
  await grantRoles({
    owner,
    auth: addressOf("auth", auth),
    server: { ...addressOf("server", server), session: PLANNER_SETTINGS },
    log,
  });
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  await migrateDatabase(process.env).then(
    () => console.log("The database is migrated."),
    (error: Error) => {
      console.error(messageOf(error));
      process.exitCode = 1;
    },
  );
}
