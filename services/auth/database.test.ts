import assert from "node:assert/strict";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { startTestAuth, type TestAuth } from "./auth.suite.ts";

const folder = await mkdtemp(join(tmpdir(), "lucky-auth-database-"));
await chmod(folder, 0o711);
const postgres = await startEmbedded({
  dataDir: folder,
  log: quiet,
  settings: { fsync: "off", io_method: "sync" },
});
const { url } = postgres;
await migrate({ url, log: quiet });
after(async () => {
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A running auth whose calls are logged, and a pool with `max` connections under its tables. */
async function start(t: TestContext, { max, as = url }: { max: number; as?: string }) {
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const log = createLog({ service: "auth", instanceId: "auth-0", level: "warn", stream });
  const name = "auth-under-test";
  const pool = createPool({ url: as, max, log: quiet, name, connectTimeoutMs: 1_000 });
  t.after(() => pool.end());
  const sockets = new Set<Socket>();
  pool.on("connect", ({ connection }) => sockets.add(connection.stream as Socket));
  const auth = await startTestAuth({ url, t, pool, log });
  return { auth, pool, lines, sockets };
}

/** Calls that read by Prisma, in one of its transactions, and by the pool itself. */
const CALLS: Record<string, (auth: TestAuth) => Promise<unknown>> = {
  CheckUsers: ({ sessions }) => sessions.checkUsers({ userIds: ["1"] }),
  Refresh: ({ auth }) => auth.refresh({ refreshToken: "x".repeat(43) }),
  ListRevocations: ({ sessions }) => sessions.listRevocations({}),
};

async function assertUnavailable(call: Promise<unknown>, name: string): Promise<void> {
  const error = await call.then(
    () => assert.fail(`${name} succeeded`),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ConnectError);
  const detail = detailOf(error);
  assert.equal(ErrorReason[detail?.reason ?? 0], "UNAVAILABLE", name);
  assert.ok(detail!.retryAfterMs > 0n, name);
  assert.equal(error.rawMessage, "the database cannot be reached or has no free connection");
  assert.equal(error.cause, undefined);
}

/** Runs a statement on a connection of its own. */
async function operate(sql: string, values: unknown[] = []) {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await client.query(sql, values);
  } finally {
    await client.end();
  }
}

test("calls that get no connection in time fail with UNAVAILABLE; only the log has the cause", async (t) => {
  const { auth, pool, lines } = await start(t, { max: 1 });
  const held = await pool.connect();
  try {
    for (const [name, call] of Object.entries(CALLS)) await assertUnavailable(call(auth), name);
  } finally {
    held.release();
  }
  assert.equal(lines.length, Object.keys(CALLS).length);
  for (const line of lines) {
    assert.match(line, /"level":"warn".*"reason":"UNAVAILABLE".*timeout exceeded when trying/);
  }
  await CALLS.ListRevocations!(auth);
});

test("calls fail with UNAVAILABLE when PostgreSQL has no connection left for auth", async (t) => {
  const owner = new URL(url).username;
  await operate(`CREATE ROLE few LOGIN PASSWORD 'few'; GRANT "${owner}" TO few`);
  const as = new URL(url);
  [as.username, as.password] = ["few", "few"];
  const { auth, pool, lines } = await start(t, { max: 1, as: as.href });
  await operate("ALTER ROLE few CONNECTION LIMIT 0");
  const { promise: gone, resolve } = Promise.withResolvers<void>();
  pool.once("remove", () => resolve());
  await operate("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'");
  await gone;
  for (const [name, call] of Object.entries(CALLS)) await assertUnavailable(call(auth), name);
  for (const line of lines) assert.match(line, /too many connections/);
});

test("a call fails with UNAVAILABLE when its connection breaks or stays silent during a query", async (t) => {
  const { auth, sockets } = await start(t, { max: 2 });
  const locker = new pg.Client(url);
  await locker.connect();
  locker.on("error", () => {});
  t.after(() => locker.end());
  await locker.query(
    "BEGIN; LOCK TABLE auth.account, auth.login, auth.refresh_token IN ACCESS EXCLUSIVE MODE",
  );
  const waiting = `FROM pg_stat_activity
    WHERE application_name = 'auth-under-test' AND wait_event_type = 'Lock'`;
  for (const [name, call] of Object.entries(CALLS)) {
    const broken = assertUnavailable(call(auth), name);
    while ((await operate(`SELECT pg_terminate_backend(pid) ${waiting}`)).rowCount === 0);
    await broken;
    const silent = assertUnavailable(call(auth), name);
    while ((await operate(`SELECT ${waiting}`)).rowCount === 0);
    for (const socket of sockets) socket.emit("timeout");
    await silent;
    await operate(`SELECT pg_terminate_backend(pid) ${waiting}`);
  }
});

test("calls that write fail with UNAVAILABLE while PostgreSQL is read-only, then work on new connections", async (t) => {
  const owner = new URL(url).username;
  await operate(`CREATE ROLE moved LOGIN PASSWORD 'moved'; GRANT "${owner}" TO moved`);
  const as = new URL(url);
  [as.username, as.password] = ["moved", "moved"];
  const { auth, pool } = await start(t, { max: 1, as: as.href });
  await operate("ALTER ROLE moved SET default_transaction_read_only = on");
  const { promise: gone, resolve } = Promise.withResolvers<void>();
  pool.once("remove", () => resolve());
  await operate("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'moved'");
  await gone;
  const error = await auth.register().then(
    () => assert.fail("it succeeded"),
    (thrown: unknown) => thrown,
  );
  const detail = detailOf(error);
  assert.equal(detail?.reason, ErrorReason.UNAVAILABLE);
  assert.equal(detail.retryAfterMs, 5_000n);
  await operate("ALTER ROLE moved RESET default_transaction_read_only");
  await auth.register();
});

test("calls fail with UNAVAILABLE while PostgreSQL is down", async (t) => {
  const { auth } = await start(t, { max: 2 });
  await postgres.stop();
  for (const [name, call] of Object.entries(CALLS)) await assertUnavailable(call(auth), name);
});
