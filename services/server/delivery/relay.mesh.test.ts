import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { systemClock } from "#platform/clock.ts";
import { createRedisRegistry } from "#platform/registry/redis.ts";
import { type Backend, startRedis } from "../../../test/backends.ts";
import { quiet, startTestPostgres } from "../../../test/postgres.ts";
import { accepted, outboxRows, Stand, toUser, untilOutboxEmpty } from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });
let redis: Backend;

before(async () => {
  redis = await startRedis();
});
after(() => redis.close());

const open = () => createRedisRegistry({ url: redis.url, clock: systemClock, log: quiet });

test("Redis goes away from a server that never fell back: entries still arrive, live", async (t) => {
  const stand = new Stand(t, pool, open);
  const ears = [
    await stand.instance("connect-0", ["u:102"]),
    await stand.instance("connect-1", ["u:999"]),
  ];
  const one = await stand.server();
  await redis.kill();
  t.after(() => redis.restart());
  const [sent] = await one.append({ from: "101", to: toUser("102"), key: "k", text: "live" });
  accepted(sent);
  for (const ear of ears) await ear.until(({ texts }) => texts.includes("live"));
  await untilOutboxEmpty(stand);
});

test("a server that started without Redis keeps its rows, and publishes when Redis is back", async (t) => {
  const stand = new Stand(t, pool, open);
  const ear = await stand.instance("connect-2", ["u:112"]);
  await redis.kill();
  const one = await stand.server();
  const [sent] = await one.append({ from: "111", to: toUser("112"), key: "k", text: "late" });
  accepted(sent);
  stand.clock.advance(60_000);
  // Also waits for the compensation, which tries in vain, and deletes what was confirmed.
  await one.server.replay();
  assert.equal(await outboxRows(pool), 1);
  assert.equal(ear.entries.length, 0);
  await redis.restart();
  while (!(await heard(stand, "u:112"))) await new Promise(setImmediate);
  // Again and again: the server's own way to Redis may come back later than ours.
  while (!ear.texts.includes("late")) {
    stand.clock.advance(60_000);
    await one.server.replay();
    await new Promise(setImmediate);
  }
  await untilOutboxEmpty(stand);
});

/** Whether an instance hears a channel again, as far as Redis says. */
async function heard({ registry }: Stand, channel: string): Promise<boolean> {
  const [instances = []] = await registry.locate([channel]).catch(() => []);
  return instances.length > 0;
}
