/**
 * `npm run migrate`: applies all migrations as the user of LUCKY_MIGRATE_POSTGRES_URL, makes the
 * roles of auth and server, and assigns the buckets of a new log. Can be repeated. `npm run migrate
 * -- promote` also puts databases into operation that PostgreSQL's own tools restored.
 */
import { realpathSync } from "node:fs";
import { parseArgs } from "node:util";
import { promote } from "#platform/backup/promote.ts";
import { assignBuckets } from "#platform/buckets/assign.ts";
import { systemClock } from "#platform/clock.ts";
import { loadConfig } from "#platform/config/load-config.ts";
import {
  logAddresses,
  migrateConfig,
  platformConfig,
  postgresAddress,
} from "#platform/config/settings.ts";
import { createLog } from "#platform/log.ts";
import { type DatabaseAddress, migrate } from "#platform/postgres/migrate.ts";
import { grantRoles } from "#platform/postgres/roles.ts";
import { isAwayAtStart } from "#platform/postgres/unavailable.ts";
import { messageOf } from "#platform/process/process.ts";
import { whenReachable } from "#platform/waiting.ts";
import { authConfig } from "./auth/config.ts";
import { ownerAddresses } from "./owner-addresses.ts";
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

const HELP = `npm run migrate                  applies all migrations, makes the roles of auth and server, and
                                 assigns the buckets of a new log
npm run migrate -- promote       the same, and then puts a database into operation that PostgreSQL's
                                 own tools restored; stop all processes of Lucky first
npm run migrate -- promote <n>   the same for the n-th database of LUCKY_POSTGRES_LOG_URLS; without a
                                 number, for all of them; --damaged accepts a log with missing
                                 entries
npm run migrate -- --wait        waits for databases that are away, instead of failing
npm run migrate -- --help        prints this help

docs/administration.md, sections "Roles of the database" and "Backup", describes them.`;

/**
 * Applies the migrations to the home database and to those of the log, gives the roles of auth and
 * server their rights, and assigns the buckets when no database has any. The users are those of
 * the URLs that auth and server have in this environment. Returns the databases of the log. Rejects with
 * an error for operators.
 */
export async function migrateDatabase(env: Environment): Promise<readonly DatabaseAddress[]> {
  const config = loadMigrationConfig(env);
  const { platform, auth, server } = config;
  const { home, logs } = ownerAddresses(config);
  const log = createLog({ service: "migrate", instanceId: "migrate", level: platform.logLevel });
  /** The address of a service; the owner's for a service that has none here. */
  const addressOf = (table: string, config: { readonly postgresUrl: string }) => {
    const address = postgresAddress(table, config, platform);
    return address.url === "" ? home : address;
  };
  const session = PLANNER_SETTINGS;
  const homeOfServer = addressOf("server", server);
  await migrate({ ...home, log });
  await grantRoles({
    owner: home,
    auth: addressOf("auth", auth),
    server: { ...homeOfServer, session },
    log,
  });
  const addresses = logAddresses(platform, homeOfServer);
  for (const [at, owner] of logs.entries()) {
    if (owner === home) continue;
    await migrate({ ...owner, log });
    // Auth needs no rights there. Without server's list, rights go to the group role but to no user.
    const ofServer = platform.postgresLogUrls.length > 0 ? addresses[at]! : owner;
    await grantRoles({ owner, auth: owner, server: { ...ofServer, session }, log });
  }
  await assignBuckets(logs, home);
  return logs;
}

/** A signal ends the process, and with it the wait. */
function waits() {
  const log = createLog({ service: "migrate", instanceId: "migrate", level: "info" });
  const stopping = new AbortController().signal;
  return { clock: systemClock, log, stopping, isAway: isAwayAtStart };
}

/** Runs the arguments of `npm run migrate`; returns the report. Rejects with an error for operators. */
export async function runMigrate(args: string[], env: Environment): Promise<string> {
  const { values, positionals } = parseArgs({
    args,
    strict: false,
    options: {
      help: { type: "boolean", short: "h" },
      damaged: { type: "boolean" },
      wait: { type: "boolean" },
    },
  });
  const { help, damaged, wait, ...unknown } = values;
  if (help) return HELP;
  const [command, number, ...others] = [...positionals, ...Object.keys(unknown)];
  const isKnown = command === "promote" || (command === undefined && damaged === undefined);
  if (others.length > 0 || !isKnown || !/^([1-9]\d?)?$/.test(number ?? ""))
    throw new Error(`npm run migrate does not know these arguments: ${args.join(" ")}\n\n${HELP}`);
  const apply = () => migrateDatabase(env);
  const logs = await (wait ? whenReachable("databases", apply, waits()) : apply());
  const title = logs.length === 1 ? "The database is migrated." : "The databases are migrated.";
  if (command === undefined) return title;
  const restored = number === undefined ? logs : logs.slice(Number(number) - 1, Number(number));
  if (restored.length === 0)
    throw new Error(`There is no database ${number}: the settings name ${logs.length}.`);
  const lines = [];
  for (const [at, owner] of restored.entries()) {
    const { conversations, members, damage } = await promote(owner, {
      damaged: damaged === true,
    });
    const state = damage.length === 0 ? "complete" : "damaged";
    const name = restored.length === 1 ? "Its log" : `The log of database ${at + 1}`;
    lines.push(
      ...damage,
      `${name} is ${state}, and is marked as reset:`,
      `${conversations} conversations and ${members} memberships had transaction ids of another cluster.`,
    );
  }
  return [title, ...lines, "Start Lucky now."].join("\n");
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  await runMigrate(process.argv.slice(2), process.env).then(
    (report) => console.log(report),
    (error: Error) => {
      console.error(messageOf(error));
      process.exitCode = 1;
    },
  );
}
