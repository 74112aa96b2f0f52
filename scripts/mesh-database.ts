import { randomBytes } from "node:crypto";
import { migrateDatabase } from "../services/migrate.ts";

/** Passwords of the database users of auth and server, under the names that compose.yaml uses. */
export function createDatabasePasswords(): Record<string, string> {
  return {
    AUTH_POSTGRES_PASSWORD: randomBytes(24).toString("hex"),
    SERVER_POSTGRES_PASSWORD: randomBytes(24).toString("hex"),
  };
}

/** Migrates the database. Returns the URLs of auth and server, each with a user of its own. */
export async function prepareDatabase(
  ownerUrl: string,
  passwords: Readonly<Record<string, string | undefined>>,
): Promise<Record<string, string>> {
  const urls = {
    LUCKY_AUTH_POSTGRES_URL: urlFor(ownerUrl, "auth", passwords.AUTH_POSTGRES_PASSWORD),
    LUCKY_SERVER_POSTGRES_URL: urlFor(ownerUrl, "server", passwords.SERVER_POSTGRES_PASSWORD),
  };
  await migrateDatabase({
    ...urls,
    LUCKY_MIGRATE_POSTGRES_URL: ownerUrl,
    LUCKY_LOG_LEVEL: "warn",
  });
  return urls;
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
