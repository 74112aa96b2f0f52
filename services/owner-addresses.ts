import { ConfigError, type ConfigOf, environmentName } from "#platform/config/config.ts";
import {
  logAddresses,
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

/** The databases, for the owner of the tables. */
export interface OwnerAddresses {
  /** The home database, with the accounts. */
  readonly home: PostgresAddress;
  /**
   * The databases of the log, in the order of LUCKY_POSTGRES_LOG_URLS. Without such a list, the home
   * database is the only one.
   */
  readonly logs: readonly PostgresAddress[];
}

/** Throws a ConfigError when the lists of the owner and of server have different lengths. */
export function ownerAddresses({ platform, migrate }: OwnerConfig): OwnerAddresses {
  const home = postgresAddress("migrate", migrate, platform);
  const variable = environmentName("migrate", "postgresLogUrls");
  const [owned, shared] = [migrate.postgresLogUrls, platform.postgresLogUrls];
  if (owned.length === 0) return { home, logs: logAddresses(platform, home) };
  if (shared.length > 0 && shared.length !== owned.length)
    throw new ConfigError([
      `${variable} has ${owned.length} URLs, and ${environmentName("", "postgresLogUrls")} has ${shared.length}: they name the same databases in the same order`,
    ]);
  const logs = owned.map((url, at) => ({ url, variable: `${variable}, URL ${at + 1}` }));
  return { home, logs };
}
