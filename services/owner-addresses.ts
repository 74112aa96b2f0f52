import type { ConfigOf } from "#platform/config/config.ts";
import { ConfigError, environmentName } from "#platform/config/config.ts";
import {
  type migrateConfig,
  type PlatformConfig,
  type PostgresAddress,
  postgresAddress,
} from "#platform/config/settings.ts";

/** Settings with the addresses of the owner of the tables. */
export interface OwnerConfig {
  readonly platform: PlatformConfig;
  readonly migrate: ConfigOf<typeof migrateConfig>;
}

/** A database of the log, with the addresses of the owner of the tables and of server. */
export interface LogAddresses {
  readonly owner: PostgresAddress;
  /** Undefined when there is no list: then it is the database of server. */
  readonly server: PostgresAddress | undefined;
}

/** The home database, with the accounts, for the owner of the tables. */
export function homeAddress({ platform, migrate }: OwnerConfig): PostgresAddress {
  return postgresAddress("migrate", migrate, platform);
}

/**
 * The databases of the log, in the order of LUCKY_POSTGRES_LOG_URLS. Without such a list, the home
 * database is the only one. Throws a ConfigError when both lists are set and have different lengths.
 */
export function logAddresses(config: OwnerConfig): LogAddresses[] {
  const shared = config.platform.postgresLogUrls;
  const owned = config.migrate.postgresLogUrls;
  const names = ["", "migrate"].map((table) => environmentName(table, "postgresLogUrls"));
  const address = (
    urls: readonly string[],
    name: string,
    at: number,
  ): PostgresAddress | undefined =>
    urls.length === 0 ? undefined : { url: urls[at]!, variable: `${name}, URL ${at + 1}` };
  if (shared.length > 0 && owned.length > 0 && shared.length !== owned.length)
    throw new ConfigError([
      `${names[1]} has ${owned.length} URLs, and ${names[0]} has ${shared.length}: they name the same databases in the same order`,
    ]);
  const count = Math.max(shared.length, owned.length);
  if (count === 0) return [{ owner: homeAddress(config), server: undefined }];
  return Array.from({ length: count }, (_, at) => {
    const server = address(shared, names[0]!, at);
    return { owner: address(owned, names[1]!, at) ?? server!, server };
  });
}
