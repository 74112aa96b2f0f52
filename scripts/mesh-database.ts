import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { migrateDatabase } from "../services/migrate.ts";

/** Passwords of the database users of auth and server, under the names that compose.yaml uses. */
export function createDatabasePasswords(): Record<string, string> {
  return {
    AUTH_POSTGRES_PASSWORD: randomBytes(24).toString("hex"),
    SERVER_POSTGRES_PASSWORD: randomBytes(24).toString("hex"),
  };
}

export interface PrepareOptions {
  /** URLs of the databases of the log, for the owner, if there are others than the home database. */
  readonly ownerLogUrls?: readonly string[];
  /** Folder of the sources with the migrations; this repository when absent. */
  readonly root?: string | undefined;
}

/**
 * Migrates the home database, and those of the log if there are others. Returns the URLs of auth and
 * server, each with a user of its own.
 */
export async function prepareDatabase(
  ownerUrl: string,
  passwords: Readonly<Record<string, string | undefined>>,
  { ownerLogUrls = [], root }: PrepareOptions = {},
): Promise<Record<string, string>> {
  const forServer = (url: string) => urlFor(url, "server", passwords.SERVER_POSTGRES_PASSWORD);
  const urls = {
    LUCKY_AUTH_POSTGRES_URL: urlFor(ownerUrl, "auth", passwords.AUTH_POSTGRES_PASSWORD),
    LUCKY_SERVER_POSTGRES_URL: forServer(ownerUrl),
    ...(ownerLogUrls.length > 0 && {
      LUCKY_POSTGRES_LOG_URLS: ownerLogUrls.map(forServer).join(","),
    }),
  };
  await migrate(root, {
    ...urls,
    LUCKY_MIGRATE_POSTGRES_URL: ownerUrl,
    LUCKY_MIGRATE_POSTGRES_LOG_URLS: ownerLogUrls.join(","),
    LUCKY_LOG_LEVEL: "warn",
  });
  return urls;
}

/** Runs the migrations of this version, or those of another one. */
async function migrate(root: string | undefined, env: Record<string, string>): Promise<void> {
  if (root === undefined) {
    await migrateDatabase(env);
    return;
  }
  const script = ["--disable-warning=ExperimentalWarning", join(root, "services/migrate.ts")];
  const options = { cwd: root, env: { PATH: process.env.PATH, ...env } };
  await promisify(execFile)(process.execPath, script, options);
}

/** Creates `count` empty databases in the cluster of a database. Returns their URLs. */
export async function createDatabases(url: string, count: number): Promise<string[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const urls: string[] = [];
    for (let nth = 1; nth <= count; nth++) {
      await client.query(`CREATE DATABASE log_${nth}`);
      const created = new URL(url);
      created.pathname = `/log_${nth}`;
      urls.push(created.href);
    }
    return urls;
  } finally {
    await client.end();
  }
}

function urlFor(ownerUrl: string, user: string, password = ""): string {
  const url = new URL(ownerUrl);
  [url.username, url.password] = [user, password];
  return url.href;
}

const OWN_ADDRESS: Readonly<Record<string, string>> = {
  auth: "LUCKY_AUTH_POSTGRES_URL",
  server: "LUCKY_SERVER_POSTGRES_URL",
};
const ADDRESSES = new Set([
  "LUCKY_POSTGRES_URL",
  "LUCKY_MIGRATE_POSTGRES_URL",
  "LUCKY_POSTGRES_LOG_URLS",
  "LUCKY_MIGRATE_POSTGRES_LOG_URLS",
  ...Object.values(OWN_ADDRESS),
]);

/**
 * The settings of one service: auth and server get their own URL of the database, others none. Server
 * also gets the databases of the log.
 */
export function settingsFor(
  service: string,
  settings: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const others = Object.entries(settings).filter(([name]) => !ADDRESSES.has(name));
  const own = OWN_ADDRESS[service];
  const address = own && { [own]: settings[own] || settings.LUCKY_POSTGRES_URL };
  const { LUCKY_POSTGRES_LOG_URLS } = settings;
  const logs = service === "server" && LUCKY_POSTGRES_LOG_URLS && { LUCKY_POSTGRES_LOG_URLS };
  return { ...Object.fromEntries(others), ...address, ...logs };
}

/** Whether the environment names a database, with the users that its operator chose. */
export function namesDatabase(env: Readonly<Record<string, string | undefined>>): boolean {
  return ["LUCKY_POSTGRES_URL", ...Object.values(OWN_ADDRESS)].some((name) => env[name]);
}
