import pg from "pg";

/** Settings of PostgreSQL for the sessions of a service, with the values that SHOW prints. */
export type SessionSettings = Readonly<Record<string, string>>;

/**
 * How connections reach PostgreSQL: "none" for PostgreSQL itself. Otherwise through a pooler in
 * transaction mode, where the session may change with every transaction: "prepared" when the pooler
 * keeps named statements, "unprepared" when it does not.
 */
export type Pooler = "none" | "prepared" | "unprepared";

/** Settings that every service needs. */
export const SESSION_SETTINGS = {
  statement_timeout: "15s",
  idle_in_transaction_session_timeout: "30s",
  // Prisma's adapter reads every time as UTC and ignores the zone that PostgreSQL wrote.
  TimeZone: "UTC",
} satisfies SessionSettings;

/** The start-up parameter that gives a session these settings. The values contain no spaces. */
export function startupOptions(settings: SessionSettings): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(" ");
}

/** Whether a pooler refuses connections with settings. */
function refusesSettings(error: unknown): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown };
  // PgBouncer; RDS Proxy.
  return (
    (code === "08P01" || code === "0A000") &&
    /startup parameter|command-line options/.test(String(message))
  );
}

/** Every value but "off" is accepted: with all others, a commit waits for the disk. */
const COMMIT = "synchronous_commit";

/** Requirements of the sessions of a pool, and the variable that sets its URL. */
export interface SessionNeeds {
  readonly variable: string;
  readonly settings: SessionSettings;
  readonly pooler: Pooler;
}

/**
 * Checks at a start that the settings are in force in the sessions of the pool, that a commit waits
 * for the disk, and that the pooler keeps named statements when its mode is "prepared". Rejects with
 * an error for operators.
 */
export async function checkSession(pool: pg.Pool, needs: SessionNeeds): Promise<void> {
  const { variable, settings, pooler } = needs;
  const { rows } = await pool
    .query<{ role: string; name: string; value: string | null }>(
      `SELECT current_user AS role, name, current_setting(name, true) AS value
         FROM unnest($1::text[]) AS name`,
      [[...Object.keys(settings), COMMIT]],
    )
    .catch((cause: unknown) => {
      if (!refusesSettings(cause)) throw cause;
      throw new Error(
        `A pooler between Lucky and PostgreSQL (${variable}) refuses the settings of a session: ` +
          `${(cause as Error).message}. Set LUCKY_POSTGRES_POOLER; docs/administration.md, section ` +
          '"A pooler", says how.',
        { cause },
      );
    });
  const commit = rows.find(({ name }) => name === COMMIT)!;
  if (commit.value === "off") throw new Error(losesCommits(commit.role, variable));
  const wrong = rows.filter(({ name, value }) => name in settings && value !== settings[name]);
  if (wrong.length > 0) throw new Error(missingSettings(wrong, needs));
  if (pooler === "prepared" && (await losesNames(pool)))
    throw new Error(
      `The pooler between Lucky and PostgreSQL (${variable}) does not keep named statements. Set ` +
        "max_prepared_statements in PgBouncer 1.21 or later, or LUCKY_POSTGRES_POOLER=unprepared.",
    );
}

function losesCommits(role: string, variable: string): string {
  return (
    `Sessions of "${role}" in PostgreSQL (${variable}) have ${COMMIT} = off: a crash of PostgreSQL ` +
    "would lose acknowledged messages, and hide later ones from Sync. Set it to on, in " +
    "postgresql.conf, or for the role or the database that has it."
  );
}

function missingSettings(
  wrong: readonly { role: string; name: string; value: string | null }[],
  { variable, settings, pooler }: SessionNeeds,
): string {
  const list = wrong.map(({ name, value }) => `${name} is ${value} instead of ${settings[name]}`);
  const fault = `Sessions of "${wrong[0]!.role}" in PostgreSQL (${variable}) lack settings: ${list.join(", ")}. `;
  if (pooler === "none")
    return `${fault}Remove settings from the URL; behind a pooler, set LUCKY_POSTGRES_POOLER.`;
  return (
    `${fault}Behind a pooler, auth and server each need a user of their own that does not own the ` +
    'tables: run "npm run migrate" with their URLs, then let the pooler open new connections ' +
    "(RECONNECT in PgBouncer)."
  );
}

/**
 * Whether two clients of the pooler share the name of a statement, although their texts differ. An
 * idle PgBouncer gives both the same connection to PostgreSQL.
 */
async function losesNames(pool: pg.Pool): Promise<boolean> {
  const clients = [await pool.connect(), await pool.connect()];
  let lost = false;
  try {
    for (const [at, client] of clients.entries())
      await client.query({ name: "lucky_probe", text: `SELECT ${at} AS at` });
  } catch (error) {
    // duplicate_prepared_statement, invalid_sql_statement_name
    const { code } = error as { code?: unknown };
    lost = code === "42P05" || code === "26000";
    if (!lost) throw error;
  } finally {
    for (const client of clients) client.release(true);
  }
  return lost;
}

/**
 * Options of a connection that keeps its session: for migrations, whose lock belongs to the session
 * and whose statements may take long.
 */
const OWN_SESSION = startupOptions({ "lucky.direct": "on", statement_timeout: "0" });

/**
 * Connection options for migrations. Rejects with an error for operators when a pooler is in between:
 * it may run each statement in another session.
 */
export async function ownSession(url: string, variable: string): Promise<pg.ClientConfig> {
  const config: pg.ClientConfig = { connectionString: url, options: OWN_SESSION };
  const client = new pg.Client(config);
  client.on("error", () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ direct: string | null }>(
      "SELECT current_setting('lucky.direct', true) AS direct",
    );
    if (rows[0]!.direct === "on") return config;
  } catch (error) {
    if (!refusesSettings(error)) throw error;
  } finally {
    await client.end().catch(() => {});
  }
  throw new Error(
    `Migrations need a connection to PostgreSQL itself, but ${variable} leads to a pooler. Run ` +
      '"npm run migrate" with the address of PostgreSQL in LUCKY_MIGRATE_POSTGRES_URL.',
  );
}
