import { readdir, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { runner } from "node-pg-migrate";
import pg from "pg";
import type { Log } from "#platform/log.ts";
import { ownSession } from "./session.ts";

/** A URL of PostgreSQL, and where it comes from. */
export interface DatabaseAddress {
  /** postgresql://user:password@host:port/database */
  readonly url: string;
  /** The environment variable that sets the URL, for errors; LUCKY_POSTGRES_URL when absent. */
  readonly variable?: string;
}

export interface MigrateOptions extends DatabaseAddress {
  readonly log: Log;
  /** Number of migrations of an empty database; all when absent. */
  readonly count?: number;
}

const MIGRATIONS = fileURLToPath(new URL("../../prisma/migrations", import.meta.url));

/** Rights of the group roles, as SQL. */
const RIGHTS = fileURLToPath(new URL("../../prisma/roles.sql", import.meta.url));
/** Advisory lock: two processes must not change the same roles at the same time. */
export const RIGHTS_LOCK_ID = 7_265_003;

const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Whether the role can run the migrations: the runner creates its schema if it is missing, and only
 * the owner can change a table.
 */
const SELECT_ROLE = `
  SELECT current_user AS role,
         has_database_privilege(current_database(), 'CREATE') AND NOT EXISTS (
           SELECT FROM pg_namespace
            WHERE nspname IN ('lucky', 'auth', 'im') AND NOT pg_has_role(nspowner, 'USAGE')
         ) AS owner`;

/**
 * Applies the SQL files of prisma/migrations that the table lucky.migration does not name yet. A lock
 * serialises processes that start at the same time. If the group roles have rights in this database,
 * they get those of prisma/roles.sql again, for the new tables.
 *
 * When the database has all of them, it only reads the table: a role that owns nothing suffices.
 * Rejects with an error for operators when the database cannot be reached, and when files are
 * missing that this role cannot apply.
 */
export async function migrate(options: MigrateOptions): Promise<void> {
  const { url, variable = "LUCKY_POSTGRES_URL", log, count } = options;
  const { role, owner, readable, missing } = await inspect(url, variable);
  if (missing.length === 0) return;
  if (!owner) {
    const fault = readable
      ? `lacks the migrations ${missing.join(", ")}, which "${role}" cannot apply`
      : `gives "${role}" no rights on Lucky's tables`;
    throw new Error(
      `The database of ${variable} ${fault}. Run "npm run migrate" as the owner of the tables ` +
        "(LUCKY_MIGRATE_POSTGRES_URL; for the log LUCKY_MIGRATE_POSTGRES_LOG_URLS), then start again.",
    );
  }
  // The lock belongs to the session, which a pooler would change.
  const applied = await apply(await ownSession(url, variable), { log, count });
  if (applied.length > 0)
    log.info({ event: "migrated", migrations: applied.map((migration) => migration.name) });
}

/**
 * Applies the missing migrations. The connection is ours, because the runner does not wait until its own
 * is closed: a PostgreSQL that stopped right after a migration made that one fail, with no listener.
 */
async function apply(
  session: pg.ClientConfig,
  { log, count }: { log: Log; count: number | undefined },
): Promise<readonly { readonly name: string }[]> {
  const debug = (message: string) => log.debug({ event: "migration", message });
  const client = createClient(session);
  try {
    await client.connect();
    const applied = await runner({
      dbClient: client,
      dir: MIGRATIONS,
      direction: "up",
      count,
      migrationsSchema: "lucky",
      createMigrationsSchema: true,
      migrationsTable: "migration",
      advisoryLockMode: "wait",
      logger: { debug, info: debug, warn: debug, error: debug },
    });
    if (applied.length > 0 && count === undefined && (await hasRoles(client))) {
      await client.query("BEGIN");
      await stateRights(client);
      await client.query("COMMIT");
    }
    return applied;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Whether both group roles have rights in this database; a cluster may have further databases. */
async function hasRoles(client: pg.Client): Promise<boolean> {
  const { rowCount } = await client.query(
    `SELECT FROM pg_roles r JOIN (VALUES ('lucky_auth', 'auth'), ('lucky_server', 'im')) AS g (role, schema)
       ON r.rolname = g.role WHERE has_schema_privilege(r.oid, g.schema, 'USAGE')`,
  );
  return rowCount === 2;
}

/**
 * Gives the group roles the rights of prisma/roles.sql and no others, within the caller's transaction.
 * The database must be migrated.
 */
export async function stateRights(client: pg.Client): Promise<void> {
  await client.query("SELECT pg_advisory_xact_lock($1)", [RIGHTS_LOCK_ID]);
  await client.query(await readFile(RIGHTS, "utf8"));
}

/** The names of all migrations of this version, in their order. */
export async function migrationNames(): Promise<string[]> {
  return (await readdir(MIGRATIONS)).map((file) => basename(file, ".sql")).sort();
}

/** A connection whose failures reach only its queries. */
function createClient(session: pg.ClientConfig): pg.Client {
  const client = new pg.Client({
    ...session,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on("error", () => {});
  return client;
}

/** The state of the schema, and what the role of the URL can do about it. */
interface Inspection {
  readonly role: string;
  /** Whether the role can apply migrations. */
  readonly owner: boolean;
  /** Whether the role can read which migrations were applied. */
  readonly readable: boolean;
  /** Migrations that the database lacks; all of them when it is not readable. */
  readonly missing: readonly string[];
}

async function inspect(url: string, variable: string): Promise<Inspection> {
  const client = createClient({ connectionString: url });
  try {
    // This is the first use of the database: explain the driver's error, which is only "connect
    // ECONNREFUSED".
    await client.connect().catch((cause: Error) => {
      const text = `PostgreSQL (${variable}) cannot be reached: ${cause.message}`;
      throw new Error(text, { cause });
    });
    const { rows } = await client.query<{ role: string; owner: boolean }>(SELECT_ROLE);
    const applied = await appliedMigrations(client);
    const missing = (await migrationNames()).filter((name) => !applied?.has(name));
    return { ...rows[0]!, readable: applied !== undefined, missing };
  } finally {
    await client.end().catch(() => {});
  }
}

/** Names of the applied migrations; undefined when the role may not read them. */
async function appliedMigrations(client: pg.Client): Promise<Set<string> | undefined> {
  try {
    const { rows } = await client.query<{ name: string }>("SELECT name FROM lucky.migration");
    return new Set(rows.map(({ name }) => name));
  } catch (error) {
    const code = error instanceof pg.DatabaseError ? error.code : undefined;
    // No such schema, no such table: the database is new.
    if (code === "3F000" || code === "42P01") return new Set();
    if (code === "42501") return undefined;
    throw error;
  }
}
