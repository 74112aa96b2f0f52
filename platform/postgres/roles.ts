import pg from "pg";
import type { Log } from "#platform/log.ts";
import { type DatabaseAddress, RIGHTS_LOCK_ID, stateRights } from "./migrate.ts";
import { scramVerifier } from "./scram.ts";
import { SESSION_SETTINGS, type SessionSettings } from "./session.ts";

/** Group roles of the users that auth and server log in as. */
const GROUPS = { auth: "lucky_auth", server: "lucky_server" } as const;

const CONNECT_TIMEOUT_MS = 5_000;

/** The address of the database for a service. */
export interface ServiceAddress extends DatabaseAddress {
  /** Settings of its sessions, in addition to SESSION_SETTINGS, which they override. */
  readonly session?: SessionSettings;
}

export interface RolesOptions {
  /** The owner of the tables, who may also create roles if roles are missing. */
  readonly owner: DatabaseAddress;
  /** Addresses of the same database that auth and server use. Their users may be the owner. */
  readonly auth: ServiceAddress;
  readonly server: ServiceAddress;
  readonly log: Log;
}

/**
 * Creates the group roles lucky_auth and lucky_server if they are missing, and gives them the rights
 * of prisma/roles.sql. Creates the users of auth and server if they are missing, makes them members
 * of their group, and gives them the passwords of their URLs and the settings of their sessions. The
 * owner keeps its own settings. A user that auth and server share gets only the settings that both
 * need. The database must be migrated. Can be repeated. Rejects with an error for operators.
 */
export async function grantRoles({ owner, log, ...services }: RolesOptions): Promise<void> {
  const client = new pg.Client({
    connectionString: owner.url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("BEGIN");
    await client.query("SELECT pg_advisory_xact_lock($1)", [RIGHTS_LOCK_ID]);
    for (const group of Object.values(GROUPS)) await createGroup(client, group);
    await stateRights(client);
    const shared =
      new pg.Client(services.auth.url).user === new pg.Client(services.server.url).user;
    for (const name of ["auth", "server"] as const) {
      const user = new pg.Client(services[name].url);
      // The owner needs no rights.
      if (user.user === client.user) continue;
      await addMember(client, { user, group: GROUPS[name] });
      const { session: own = {} } = services[name];
      const { session: foreign = {} } = services[name === "auth" ? "server" : "auth"];
      await setSettings(client, {
        user: user.user ?? "",
        session: shared ? {} : own,
        unwanted: shared ? { ...own, ...foreign } : foreign,
        log,
      });
      const leftOut = shared ? Object.keys(own) : [];
      if (leftOut.length > 0)
        log.warn({
          event: "session_settings_left_out",
          user: user.user,
          settings: leftOut,
          reason: "auth and server log in as the same user; behind a pooler, each needs its own",
        });
    }
    await client.query("COMMIT");
    for (const address of [services.auth, services.server]) await setPassword(client, address, log);
  } catch (cause) {
    if (!(cause instanceof pg.DatabaseError && cause.code === "42501")) throw cause;
    throw new Error(
      `The roles ${Object.values(GROUPS).join(" and ")} need a user that owns Lucky's tables and may ` +
        `create roles; for "${client.user}" (${owner.variable}) PostgreSQL says: ${cause.message}`,
      { cause },
    );
  } finally {
    await client.end().catch(() => {});
  }
}

async function createGroup(client: pg.Client, group: string): Promise<void> {
  const { rowCount } = await client.query("SELECT FROM pg_roles WHERE rolname = $1", [group]);
  if (rowCount === 0) await client.query(`CREATE ROLE ${group} NOLOGIN`);
}

/** Makes a user a member of the group; creates the user if it is missing. */
async function addMember(
  client: pg.Client,
  { user: { user = "", password }, group }: { user: pg.Client; group: string },
): Promise<void> {
  const { rows } = await client.query<{ member: boolean }>(
    "SELECT pg_has_role(rolname, $2, 'MEMBER') AS member FROM pg_roles WHERE rolname = $1",
    [user, group],
  );
  const name = pg.escapeIdentifier(user);
  if (rows.length === 0) {
    const verifier = password ? `PASSWORD ${pg.escapeLiteral(scramVerifier(password))}` : "";
    await client.query(`CREATE ROLE ${name} LOGIN ${verifier} IN ROLE ${group}`);
  } else if (!rows[0]!.member) {
    await client.query(`GRANT ${group} TO ${name}`);
  }
}

/**
 * Gives the sessions of a user their settings in this database, for poolers, through which a service
 * cannot set them itself. Resets `unwanted` settings if the user has all of them: another service has
 * used it before. Logs a warning when the owner may not change the user: only a start behind a pooler
 * needs the settings.
 */
async function setSettings(
  client: pg.Client,
  {
    user,
    session,
    unwanted,
    log,
  }: {
    user: string;
    session: SessionSettings;
    unwanted: SessionSettings;
    log: Log;
  },
): Promise<void> {
  const { rows } = await client.query<{ database: string; current: string[] | null }>(
    `SELECT datname AS database, setconfig AS current
       FROM pg_database d LEFT JOIN pg_db_role_setting s
         ON s.setdatabase = d.oid AND s.setrole = (SELECT oid FROM pg_roles WHERE rolname = $1)
      WHERE datname = current_database()`,
    [user],
  );
  const { database, current } = rows[0]!;
  const role = `ROLE ${pg.escapeIdentifier(user)} IN DATABASE ${pg.escapeIdentifier(database)}`;
  const isSet = ([name, value]: [string, string]) => current?.includes(`${name}=${value}`) ?? false;
  const wanted = { ...SESSION_SETTINGS, ...session };
  const leftover = Object.entries(unwanted).every(isSet) ? Object.keys(unwanted) : [];
  const statements = [
    ...leftover.filter((name) => !(name in wanted)).map((name) => `ALTER ${role} RESET ${name}`),
    ...Object.entries(wanted)
      .filter((setting) => !isSet(setting))
      .map(([name, value]) => `ALTER ${role} SET ${name} = ${pg.escapeLiteral(value)}`),
  ];
  if (statements.length === 0) return;
  await client.query("SAVEPOINT settings");
  try {
    await client.query(statements.join("; "));
  } catch (err) {
    if (!(err instanceof pg.DatabaseError && err.code === "42501")) throw err;
    await client.query("ROLLBACK TO settings");
    log.warn({ event: "session_settings_refused", user, statements, err });
  }
}

/** Changes the password of a user who cannot log in with the one of the URL. */
async function setPassword(client: pg.Client, address: DatabaseAddress, log: Log): Promise<void> {
  const user = new pg.Client({
    connectionString: address.url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  user.on("error", () => {});
  const { user: name = "", password } = user;
  try {
    await user.connect();
  } catch (err) {
    const wrong = err instanceof pg.DatabaseError && err.code === "28P01";
    if (!wrong || !password) {
      // Perhaps only the service can reach this address.
      log.warn({ event: "login_not_checked", variable: address.variable, err });
      return;
    }
    const { rows } = await client.query("SELECT rolsuper FROM pg_roles WHERE rolname = $1", [name]);
    if (rows[0]?.rolsuper) throw new Error(`The password in ${address.variable} is wrong.`);
    const verifier = pg.escapeLiteral(scramVerifier(password));
    await client.query(`ALTER ROLE ${pg.escapeIdentifier(name)} PASSWORD ${verifier}`);
    log.info({ event: "password_changed", user: name });
  } finally {
    await user.end().catch(() => {});
  }
}
