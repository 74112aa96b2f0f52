import assert from "node:assert/strict";
import { EventEmitter, on, once } from "node:events";
import { chmod, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import pg from "pg";
import { createLog } from "#platform/log.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { startEmbedded } from "./embedded.ts";

const folder = await mkdtemp(join(tmpdir(), "lucky-crash-"));
await chmod(folder, 0o711);
const clock = new ManualClock();
const events = new EventEmitter();
const log = createLog({
  service: "test",
  instanceId: "test",
  level: "debug",
  stream: {
    write(line) {
      const event = JSON.parse(line);
      events.emit(event.event, event);
    },
  },
});
const settings = { fsync: "off", io_method: "sync", shared_buffers: "16MB" };
const postgres = await startEmbedded({ dataDir: folder, log, clock, settings });
after(async () => {
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

async function connect(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: postgres.socketUrl });
  // The end of a connection also rejects its query; an unhandled event would end the process.
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function ask(sql: string): Promise<unknown> {
  const client = await connect();
  try {
    return (await client.query({ text: sql, rowMode: "array" })).rows[0]?.[0];
  } finally {
    await client.end();
  }
}

async function postmaster(): Promise<number> {
  return Number.parseInt(await readFile(join(folder, "cluster", "postmaster.pid"), "utf8"), 10);
}

test("a killed PostgreSQL is restarted with the same address and with its data", async () => {
  await ask("CREATE TABLE note AS SELECT 'kept' AS text");
  const killed = await postmaster();
  const restarted = once(events, "postgres_restarted");
  process.kill(killed, "SIGKILL");
  await restarted;
  assert.notEqual(await postmaster(), killed);
  assert.equal(await ask("SELECT text FROM note"), "kept");
});

test("after the kill of one backend, PostgreSQL recovers by itself", async () => {
  const running = await postmaster();
  const client = await connect();
  const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
  const lines = on(events, "postgres");
  const query = client.query("SELECT pg_sleep(60)");
  process.kill(rows[0].pid, "SIGKILL");
  await assert.rejects(query);
  const printed: string[] = [];
  for await (const [{ level, line }] of lines) {
    printed.push(`${level} ${line}`);
    if (line.includes("ready to accept connections")) break;
  }
  assert.match(printed.join("\n"), /^warn LOG: .*was terminated by signal 9/m);
  assert.equal(await ask("SELECT text FROM note"), "kept");
  assert.equal(await postmaster(), running);
});

test("a PostgreSQL that cannot be restarted is reported with its reason", async () => {
  clock.advance(60_000);
  await rename(join(folder, "cluster", "PG_VERSION"), join(folder, "PG_VERSION"));
  events.on("postgres_not_restarted", () => setImmediate(() => clock.advance(8_000)));
  process.kill(await postmaster(), "SIGKILL");
  const { message } = await postgres.failed;
  assert.match(
    message,
    /5 attempts to restart it failed.*did not start: .* not a valid data directory/,
  );
  // The folder stays in use until the owner has stopped.
  await assert.rejects(startEmbedded({ dataDir: folder, log: quiet }), /in use by the running/);
  await postgres.stop();
});
