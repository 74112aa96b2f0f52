import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/postgres.ts";
import { accepted, outboxRows, Stand, say, untilOutboxEmpty } from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("while the bus is away rows stay; when it is back they are published in order", async (t) => {
  for (const away of ["known", "silent"] as const) {
    const stand = new Stand(t, pool);
    const one = await stand.server();
    const ear = await stand.instance("connect-0", ["u:122"]);
    stand.busOutage = away;
    for (let i = 0; i < 20; i++) await one.append(say("121", "122", `${away}${i}`));
    assert.equal(await outboxRows(pool), 20);
    stand.clock.advance(60_000);
    // Also waits for the compensation, which looks in vain.
    await one.server.replay();
    assert.deepEqual(ear.envelopes, []);
    stand.busOutage = "no";
    stand.clock.advance(60_000);
    await ear.until(({ entries }) => entries.length >= 20);
    const sequences = ear.entries.map(({ sequence }) => Number(sequence));
    assert.deepEqual(new Set(sequences).size, 20);
    if (away === "known")
      assert.deepEqual(
        sequences,
        sequences.toSorted((a, b) => a - b),
      );
    await untilOutboxEmpty(stand);
  }
});

test("a server that knows no instance while the registry is away keeps its rows until it is back", async (t) => {
  const stand = new Stand(t, pool);
  stand.registryDown = true;
  const one = await stand.server();
  const ear = await stand.instance("connect-0", ["u:128"]);
  await one.append(say("127", "128", "m"));
  stand.clock.advance(60_000);
  // Also waits for the compensation, which tries in vain, and deletes what was confirmed.
  await one.server.replay();
  assert.equal(await outboxRows(pool), 1);
  stand.registryDown = false;
  stand.clock.advance(60_000);
  await ear.until(({ texts }) => texts.includes("m"));
  await untilOutboxEmpty(stand);
});

test("what a server left behind between commit and publish is published by another one", async (t) => {
  const stand = new Stand(t, pool);
  const first = await stand.server();
  const ear = await stand.instance("connect-0", ["u:132"]);
  stand.busOutage = "silent";
  const [result] = await first.append(say("131", "132", "left"));
  // Its process ends here: the row is there, nothing was published.
  await first.server.stop();
  stand.busOutage = "no";
  stand.clock.advance(5_001);
  await stand.server();
  await ear.until(({ entries }) => entries.length === 1);
  assert.deepEqual(ear.texts, ["left"]);
  assert.equal(ear.entries[0]!.messageId, accepted(result).messageId);
  await untilOutboxEmpty(stand);
});

test("several servers share the compensation: each row is taken once", async (t) => {
  const stand = new Stand(t, pool);
  const servers = await Promise.all([stand.server(), stand.server(), stand.server()]);
  const ear = await stand.instance("connect-0", ["u:142"]);
  stand.busOutage = "known";
  for (let i = 0; i < 60; i++) await servers[0]!.append(say("141", "142", `m${i}`));
  stand.busOutage = "no";
  stand.clock.advance(8_000);
  await ear.until(({ entries }) => entries.length >= 60);
  // Also waits for the looks in work.
  await Promise.all(servers.map(({ server }) => server.replay()));
  assert.equal(ear.entries.length, 60);
  await untilOutboxEmpty(stand);
});

test("a row that always fails holds no others up", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const stuck = await stand.instance("connect-0", ["u:144"]);
  const ear = await stand.instance("connect-1", ["u:146"]);
  stand.busOutage = "known";
  await one.append(say("143", "144", "stuck"));
  for (let i = 0; i < 20; i++) await one.append(say("145", "146", `m${i}`));
  stand.busOutage = "no";
  stand.stuck.add("connect-0");
  stand.clock.advance(8_000);
  // Also waits for the look in work.
  await one.server.replay();
  assert.equal(ear.entries.length, 20);
  assert.deepEqual(stuck.entries, []);
  stand.stuck.clear();
  stand.clock.advance(60_000);
  await stuck.until(({ texts }) => texts.includes("stuck"));
  await untilOutboxEmpty(stand);
});

test("rows whose turn had not come when the bus went away are due at once, with no attempt used up", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const ear = await stand.instance("connect-0", ["u:148"]);
  stand.busOutage = "known";
  for (let i = 0; i < 16; i++) await one.append(say("147", "148", `m${i}`));
  stand.busOutage = "no";
  const gone = ear
    .until(({ entries }) => entries.length > 0)
    .then(() => {
      stand.busOutage = "known";
    });
  stand.clock.advance(8_000);
  await gone;
  // Also waits for the look in work.
  await one.server.replay();
  const { rows } = await pool.query(
    `SELECT count(*)::int AS rows, count(*) FILTER (WHERE attempts > 0)::int AS tried,
            count(*) FILTER (WHERE next_attempt_at_ms > $1)::int AS later FROM im.outbox`,
    [stand.clock.now()],
  );
  const [left] = rows as [{ rows: number; tried: number; later: number }];
  // One may have been in work, and what arrived may not be deleted yet.
  assert.ok(left.rows >= 16 - ear.entries.length, `${left.rows} rows left`);
  assert.ok(left.tried <= ear.entries.length + 1, `${left.tried} rows tried`);
  assert.ok(left.later <= ear.entries.length + 1, `${left.later} rows put off`);
  assert.ok(ear.entries.length < 15);
  stand.busOutage = "no";
  stand.clock.advance(60_000);
  await ear.until(({ entries }) => entries.length >= 16);
  await untilOutboxEmpty(stand);
});

test("after too many attempts a row waits for an operator, who can replay it", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server({ outboxAttempts: 2, outboxMaxBackoffMs: 1_000 });
  const ear = await stand.instance("connect-0", ["u:152"]);
  stand.busOutage = "silent";
  await one.append(say("151", "152", "m"));
  const failed = async () => {
    const { rows } = await pool.query(
      "SELECT count(*)::int AS n FROM im.outbox WHERE next_attempt_at_ms IS NULL",
    );
    return rows[0].n as number;
  };
  while ((await failed()) === 0) stand.clock.advance(2_000);
  stand.busOutage = "no";
  assert.deepEqual(ear.envelopes, []);
  assert.match(await one.metrics.text(), /lucky_outbox_failed_total 1/);
  assert.equal(await one.server.replay(), 1);
  await ear.until(({ entries }) => entries.length === 1);
  await untilOutboxEmpty(stand);
});
