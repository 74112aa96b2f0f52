/**
 * `npm run migrate`: applies all migrations as the user of LUCKY_MIGRATE_POSTGRES_URL, and makes the
 * roles of auth and server. Can be repeated. `npm run migrate -- promote` also puts a database into
 * operation that PostgreSQL's own tools restored.
 */
import { realpathSync } from "node:fs";
import { parseArgs } from "node:util";
import { promote } from "#platform/backup/promote.ts";
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

const HELP = `npm run migrate               applies all migrations, and makes the roles of auth and server
npm run migrate -- promote    the same, and then puts a database into operation that PostgreSQL's
                              own tools restored; stop all processes of Lucky first
npm run migrate -- --help     prints this help

docs/administration.md, sections "Roles of the database" and "Backup", describes both.`;

/** Reads the settings, and the address of the owner of the tables. */
function ownerOf(env: Environment) {
  const config = loadMigrationConfig(env);
  return { config, owner: postgresAddress("migrate", config.migrate, config.platform) };
}

/**
 * Applies the migrations, and gives the roles of auth and server their rights. Their users are those
 * of the URLs that auth and server have in this environment. Rejects with an error for operators.
 */
export async function migrateDatabase(env: Environment): Promise<void> {
  const { config, owner } = ownerOf(env);
  const { platform, auth, server } = config;
  const log = createLog({ service: "migrate", instanceId: "migrate", level: platform.logLevel });
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

/** Runs the arguments of `npm run migrate`; returns the report. Rejects with an error for operators. */
async function run(args: string[], env: Environment): Promise<string> {
  const { values, positionals } = parseArgs({
    args,
    strict: false,
    options: { help: { type: "boolean", short: "h" } },
  });
  const { help, ...unknown } = values;
  if (help) return HELP;
  const [command, ...others] = [...positionals, ...Object.keys(unknown)];
  if (others.length > 0 || (command !== undefined && command !== "promote"))
    throw new Error(`npm run migrate does not know these arguments: ${args.join(" ")}\n\n${HELP}`);
  await migrateDatabase(env);
  if (command === undefined) return "The database is migrated.";
  const { conversations, members } = await promote(ownerOf(env).owner);
  return [
    "The database is migrated. Its log is complete, and is marked as reset:",
    `${conversations} conversations and ${members} memberships had transaction ids of another cluster.`,
    "Start Lucky now.",
  ].join("\n");
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  await run(process.argv.slice(2), process.env).then(
    (report) => console.log(report),
    (error: Error) => {
      console.error(messageOf(error));
      process.exitCode = 1;
    },
  );
}
