import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createLog } from "#platform/log.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { accepted, outboxRows, Stand, say, untilOutboxEmpty } from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("during a bus outage rows stay in the outbox; after it they are published in order", async (t) => {
  for (const outage of ["known", "silent"] as const) {
    const stand = new Stand(t, pool);
    const one = await stand.server();
    const subscriber = await stand.instance("connect-0", ["u:122"]);
    stand.busOutage = outage;
    for (let i = 0; i < 20; i++) await one.append(say("121", "122", `${outage}${i}`));
    assert.equal(await outboxRows(pool), 20);
    stand.clock.advance(60_000);
    // replay() waits for the poll of the compensation, which publishes nothing.
    await one.server.replay();
    assert.deepEqual(subscriber.envelopes, []);
    stand.busOutage = "none";
    stand.clock.advance(60_000);
    await subscriber.until(({ entries }) => entries.length >= 20);
    const sequences = subscriber.entries.map(({ sequence }) => Number(sequence));
    assert.deepEqual(new Set(sequences).size, 20);
    if (outage === "known")
      assert.deepEqual(
        sequences,
        sequences.toSorted((a, b) => a - b),
      );
    await untilOutboxEmpty(stand);
  }
});

test("during a registry outage a server without cached instances keeps its rows", async (t) => {
  const stand = new Stand(t, pool);
  stand.registryDown = true;
  const one = await stand.server();
  const subscriber = await stand.instance("connect-0", ["u:128"]);
  await one.append(say("127", "128", "m"));
  stand.clock.advance(60_000);
  // replay() waits for the poll of the compensation, which fails, and deletes confirmed rows.
  await one.server.replay();
  assert.equal(await outboxRows(pool), 1);
  const oldestSeconds = async () =>
    Number(/^lucky_outbox_oldest_seconds (\S+)$/m.exec(await one.metrics.text())?.[1]);
  const seenFor = await oldestSeconds();
  stand.clock.advance(30_000);
  await one.server.replay();
  assert.equal(await oldestSeconds(), seenFor + 30);
  stand.registryDown = false;
  stand.clock.advance(60_000);
  await subscriber.until(({ texts }) => texts.includes("m"));
  await untilOutboxEmpty(stand);
  await one.server.replay();
  assert.equal(await oldestSeconds(), 0);
});

test("another server publishes a batch whose server died between commit and publish", async (t) => {
  const stand = new Stand(t, pool);
  const first = await stand.server();
  const subscriber = await stand.instance("connect-0", ["u:132"]);
  stand.busOutage = "silent";
  const [result] = await first.append(say("131", "132", "left"));
  // The process dies here: the row exists, nothing was published.
  await first.server.stop();
  stand.busOutage = "none";
  stand.clock.advance(5_001);
  await stand.server();
  await subscriber.until(({ entries }) => entries.length === 1);
  assert.deepEqual(subscriber.texts, ["left"]);
  assert.equal(subscriber.entries[0]!.messageId, accepted(result).messageId);
  await untilOutboxEmpty(stand);
});

test("several servers share the compensation: each row is claimed once", async (t) => {
  const stand = new Stand(t, pool);
  const servers = await Promise.all([stand.server(), stand.server(), stand.server()]);
  const subscriber = await stand.instance("connect-0", ["u:142"]);
  stand.busOutage = "known";
  for (let i = 0; i < 60; i++) await servers[0]!.append(say("141", "142", `m${i}`));
  stand.busOutage = "none";
  stand.clock.advance(8_000);
  await subscriber.until(({ entries }) => entries.length >= 60);
  // replay() waits for the current polls.
  await Promise.all(servers.map(({ server }) => server.replay()));
  assert.equal(subscriber.entries.length, 60);
  await untilOutboxEmpty(stand);
});

test("a row that always fails does not block other rows", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const stuck = await stand.instance("connect-0", ["u:144"]);
  const subscriber = await stand.instance("connect-1", ["u:146"]);
  stand.busOutage = "known";
  await one.append(say("143", "144", "stuck"));
  for (let i = 0; i < 20; i++) await one.append(say("145", "146", `m${i}`));
  stand.busOutage = "none";
  stand.failingQueues.add("connect-0");
  stand.clock.advance(8_000);
  // replay() waits for the current poll.
  await one.server.replay();
  assert.equal(subscriber.entries.length, 20);
  assert.deepEqual(stuck.entries, []);
  stand.failingQueues.clear();
  stand.clock.advance(60_000);
  await stuck.until(({ texts }) => texts.includes("stuck"));
  await untilOutboxEmpty(stand);
});

test("claimed rows that were not tried before a bus outage are due at once, with no attempt counted", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const subscriber = await stand.instance("connect-0", ["u:148"]);
  stand.busOutage = "known";
  for (let i = 0; i < 16; i++) await one.append(say("147", "148", `m${i}`));
  stand.busOutage = "none";
  const gone = subscriber
    .until(({ entries }) => entries.length > 0)
    .then(() => {
      stand.busOutage = "known";
    });
  stand.clock.advance(8_000);
  await gone;
  // replay() waits for the current poll.
  await one.server.replay();
  const { rows } = await pool.query(
    `SELECT count(*)::int AS rows, count(*) FILTER (WHERE attempts > 0)::int AS tried,
            count(*) FILTER (WHERE next_attempt_at_ms > $1)::int AS later FROM im.outbox`,
    [stand.clock.now()],
  );
  const [left] = rows as [{ rows: number; tried: number; later: number }];
  // One row may have been in flight, and confirmed rows are perhaps not deleted yet.
  assert.ok(left.rows >= 16 - subscriber.entries.length, `${left.rows} rows left`);
  assert.ok(left.tried <= subscriber.entries.length + 1, `${left.tried} rows tried`);
  assert.ok(left.later <= subscriber.entries.length + 1, `${left.later} rows postponed`);
  assert.ok(subscriber.entries.length < 15);
  stand.busOutage = "none";
  stand.clock.advance(60_000);
  await subscriber.until(({ entries }) => entries.length >= 16);
  await untilOutboxEmpty(stand);
});

test("when the clock has stepped back, rows of before do not wait for that time", async (t) => {
  for (const restarted of [false, true]) {
    const stand = new Stand(t, pool);
    const first = await stand.server();
    const subscriber = await stand.instance("connect-0", ["u:150"]);
    stand.busOutage = "known";
    await first.append(say("149", "150", `m${restarted}`));
    if (restarted) await first.server.stop();
    // replay() waits for the first poll, which may have found no row.
    else await first.server.replay();
    stand.clock.step(-3_600_000);
    stand.busOutage = "none";
    if (restarted) await stand.server();
    else stand.clock.advance(8_000);
    await subscriber.until(({ entries }) => entries.length >= 1);
    await untilOutboxEmpty(stand);
  }
});

test("rows of another server whose clock was ahead are published after a minute", async (t) => {
  const stand = new Stand(t, pool);
  const ahead = new ManualClock(stand.clock.now() + 3_600_000);
  // The clock of this server never steps, and its first poll is before the rows.
  const one = await stand.server();
  await one.server.replay();
  const other = await stand.server({}, { clock: ahead });
  const subscriber = await stand.instance("connect-0", ["u:154"]);
  stand.busOutage = "known";
  await other.append(say("153", "154", "m"));
  await other.server.stop();
  stand.busOutage = "none";
  stand.clock.advance(50_000);
  await one.server.replay();
  assert.deepEqual(subscriber.entries, []);
  stand.clock.advance(20_000);
  await one.server.replay();
  assert.deepEqual(subscriber.texts, ["m"]);
  await untilOutboxEmpty(stand);
});

test("a row waits for its delay when that is longer than any back-off", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server({ outboxDelayMs: 600_000 });
  const subscriber = await stand.instance("connect-0", ["u:160"]);
  stand.busOutage = "known";
  await one.append(say("159", "160", "m"));
  stand.busOutage = "none";
  stand.clock.advance(300_000);
  await one.server.replay();
  assert.deepEqual(subscriber.entries, []);
  stand.clock.advance(300_000);
  await one.server.replay();
  assert.deepEqual(subscriber.texts, ["m"]);
  await untilOutboxEmpty(stand);
});

test("a row is confirmed only when the log has all of its entries", async (t) => {
  const stand = new Stand(t, pool);
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const log = createLog({ service: "server", instanceId: "server-0", level: "error", stream });
  const limits = { outboxAttempts: 2, outboxMaxBackoffMs: 1_000 };
  const one = await stand.server(limits, { log });
  const subscriber = await stand.instance("connect-0", ["u:156", "u:158"]);
  stand.busOutage = "known";
  const sent = [say("155", "156", "whole"), say("157", "158", "a"), say("157", "158", "b")];
  const ids: string[] = [];
  for (const send of sent) ids.push(accepted((await one.append(send))[0]).conversationId);
  const [whole, damaged] = ids;
  await pool.query("DELETE FROM im.outbox");
  await pool.query(
    `INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms, next_attempt_at_ms)
     VALUES (1, ARRAY[$1, $2]::bigint[], '{0,0}', '{1,2}', 0, 0), (2, '{999}', '{0}', '{1}', 0, 0)`,
    [whole, damaged],
  );
  const missing = "SELECT * FROM im.entry WHERE conversation_id = $1 AND sequence = 1";
  const [entry] = (await pool.query(missing, [damaged])).rows;
  await pool.query(missing.replace("SELECT *", "DELETE"), [damaged]);

  stand.busOutage = "none";
  const abandoned = "SELECT FROM im.outbox WHERE next_attempt_at_ms IS NULL";
  while ((await pool.query(abandoned)).rowCount !== 2) stand.clock.advance(2_000);
  assert.deepEqual(new Set(subscriber.texts), new Set(["whole"]));
  const texts = lines.map((line) => JSON.parse(line)).map(({ event, err }) => [event, err.message]);
  assert.deepEqual(texts.sort(), [
    [
      "outbox_abandoned",
      `The log lacks 1 of 2 entries after sequence 0 of conversation ${damaged}`,
    ],
    ["outbox_abandoned", "The log lacks conversation 999"],
  ]);

  const columns = Object.keys(entry);
  await pool.query(
    `INSERT INTO im.entry (${columns}) VALUES (${columns.map((_, at) => `$${at + 1}`)})`,
    Object.values(entry),
  );
  assert.equal(await one.server.replay(), 2);
  assert.deepEqual(subscriber.texts.slice(-2), ["a", "b"]);
  await pool.query("DELETE FROM im.outbox WHERE outbox_id = 2");
  await untilOutboxEmpty(stand);
});

test("after too many attempts a row is abandoned until an operator replays it", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server({ outboxAttempts: 2, outboxMaxBackoffMs: 1_000 });
  const subscriber = await stand.instance("connect-0", ["u:152"]);
  stand.busOutage = "silent";
  await one.append(say("151", "152", "m"));
  const failed = async () => {
    const { rows } = await pool.query(
      "SELECT count(*)::int AS n FROM im.outbox WHERE next_attempt_at_ms IS NULL",
    );
    return rows[0].n as number;
  };
  while ((await failed()) === 0) stand.clock.advance(2_000);
  stand.busOutage = "none";
  assert.deepEqual(subscriber.envelopes, []);
  assert.match(await one.metrics.text(), /lucky_outbox_failed_total 1/);
  assert.equal(await one.server.replay(), 1);
  await subscriber.until(({ entries }) => entries.length === 1);
  await untilOutboxEmpty(stand);
});
