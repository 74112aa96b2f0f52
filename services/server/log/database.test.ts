import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { assignBuckets } from "#platform/buckets/assign.ts";
import { systemClock } from "#platform/clock.ts";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { startEmbedded } from "#platform/postgres/embedded.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";
import { quiet } from "../../../test/backends/postgres.ts";
import { accepted, type Outgoing, Stand, toUser } from "../server.fixture.ts";
import { Database, PLANNER_SETTINGS, type Statement } from "./database.ts";

const folder = await mkdtemp(join(tmpdir(), "lucky-restart-"));
await chmod(folder, 0o711);
const start = (port: number) => startEmbedded({ dataDir: folder, port, log: quiet });
let postgres = await start(0);
const port = Number(new URL(postgres.url).port);
await migrate({ url: postgres.url, log: quiet });
await assignBuckets([{ url: postgres.url }]);
const session = PLANNER_SETTINGS;
const pool = createPool({ url: postgres.url, max: 8, session, log: quiet, name: "test" });
after(async () => {
  await pool.end();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

const say = (key: string): Outgoing => ({ from: "101", to: toUser("102"), key, text: key });

test("broken connections during sends cause neither lost nor duplicate messages", async (t) => {
  const one = await new Stand(t, pool).server();
  await one.append(say("first"));
  const killer = createPool({ url: postgres.url, max: 1, log: quiet, name: "killer" });
  t.after(() => killer.end());
  let failures = 0;
  const sequences: number[] = [];
  const senders = Array.from({ length: 8 }, async (_, sender) => {
    for (let i = 0; failures < 5; i++) {
      const send = say(`m${sender}-${i}`);
      let stored: number | undefined;
      while (stored === undefined) {
        try {
          stored = accepted((await one.append(send))[0]).sequence;
        } catch (error) {
          assert.equal(reasonOf(error), ErrorReason.UNAVAILABLE);
          failures++;
        }
      }
      sequences.push(stored);
    }
  });
  while (failures < 5) {
    await killer.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'",
    );
  }
  await Promise.all(senders);
  assert.deepEqual(
    sequences.toSorted((a, b) => a - b),
    Array.from(sequences, (_, i) => i + 2),
  );
});

test("a statement that gets no connection in time fails with UNAVAILABLE and a time to wait", async (t) => {
  const single = createPool({
    url: postgres.url,
    max: 1,
    log: quiet,
    name: "single",
    connectTimeoutMs: 1_000,
  });
  t.after(() => single.end());
  const db = new Database({ pool: single, clock: systemClock });
  const one: Statement = { name: "one", text: "SELECT 1 AS one", route: { kind: "own" } };
  const held = await single.connect();
  const refused = (error: unknown) => {
    const detail = detailOf(error);
    return detail?.reason === ErrorReason.UNAVAILABLE && detail.retryAfterMs > 0n;
  };
  try {
    await assert.rejects(db.run(one, []), refused);
    await assert.rejects(
      db.transaction((client) => client.query("SELECT 1")),
      refused,
    );
  } finally {
    held.release();
  }
  assert.deepEqual(await db.run(one, []), [{ one: 1 }]);
});

test("during a PostgreSQL outage sends fail with UNAVAILABLE; after it they succeed", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const [before] = await one.append(say("before"));
  assert.equal(one.server.ready(), true);
  await postgres.stop();
  const unavailable = (error: unknown) => reasonOf(error) === ErrorReason.UNAVAILABLE;
  await assert.rejects(one.append(say("during")), unavailable);
  // The whole batch fails, so that its caller can retry on another server.
  await assert.rejects(one.append({ ...say("new"), to: toUser("103") }), unavailable);
  stand.clock.advance(20_000);
  assert.equal(one.server.ready(), false);
  postgres = await start(port);
  const [during, duplicate] = await one.append(say("during"), say("before"));
  assert.equal(accepted(during).sequence, accepted(before).sequence + 1);
  assert.deepEqual(accepted(duplicate), accepted(before));
  assert.equal(one.server.ready(), true);
});

const cannotStore = (error: unknown) => {
  const detail = detailOf(error);
  return detail?.reason === ErrorReason.UNAVAILABLE && detail.retryAfterMs === 5_000n;
};

/** Waits until PostgreSQL accepts connections; those before fail with UNAVAILABLE. */
async function untilReachable(): Promise<void> {
  for (;;) {
    const error = await pool.query("SELECT 1").then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (error === undefined) return;
    assert.equal(reasonOf(databaseUnavailable(error)), ErrorReason.UNAVAILABLE);
  }
}

test("a standby refuses sends with UNAVAILABLE and serves reads; after its promotion it stores each once", async (t) => {
  const one = await new Stand(t, pool).server();
  const [before] = await one.append(say("primary"));
  await postgres.stop();
  await writeFile(join(folder, "cluster", "standby.signal"), "");
  // Resolves when PostgreSQL accepts writes.
  const promoted = start(port);
  await untilReachable();
  for (const key of ["standby", "primary", "standby"])
    await assert.rejects(one.append(say(key)), cannotStore);
  // Connections to a standby are not kept: their address may name another server by now.
  const removed = new Promise((resolve) => pool.once("remove", resolve));
  await assert.rejects(pool.query("DELETE FROM im.outbox"), { code: "25006" });
  await removed;

  await pool.query("SELECT pg_promote()");
  postgres = await promoted;
  const [stored, duplicate] = await one.append(say("standby"), say("primary"));
  assert.equal(accepted(stored).sequence, accepted(before).sequence + 1);
  assert.deepEqual(accepted(duplicate), accepted(before));
});

test("on a full disk a send is refused with UNAVAILABLE and stored nowhere; the retry is stored once", async (t) => {
  const one = await new Stand(t, pool).server();
  const [before] = await one.append(say("enough"));
  await pool.query(`
    CREATE FUNCTION im.full() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON im.outbox EXECUTE FUNCTION im.full()`);
  await assert.rejects(one.append(say("full")), cannotStore);
  await pool.query("DROP FUNCTION im.full() CASCADE");
  const [stored] = await one.append(say("full"));
  assert.equal(accepted(stored).sequence, accepted(before).sequence + 1);
});
