import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Redis } from "ioredis";
import { systemClock } from "#platform/clock.ts";
import { createRedisRegistry } from "#platform/registry/redis.ts";
import { type Backend, startRedis } from "../../../test/backends/backends.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { accepted, outboxRows, Stand, toUser, untilOutboxEmpty } from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });
let redis: Backend;

before(async () => {
  redis = await startRedis();
});
after(() => redis.close());

const LEASE_MS = 1_500;
const open = () =>
  createRedisRegistry({ url: redis.url, clock: systemClock, log: quiet, leaseMs: LEASE_MS });

test("during a Redis outage a server with cached instances still delivers entries live", async (t) => {
  const stand = new Stand(t, pool, open);
  const subscribers = [
    await stand.instance("connect-0", ["u:102"]),
    await stand.instance("connect-1", ["u:999"]),
  ];
  const one = await stand.server();
  await redis.kill();
  t.after(() => redis.restart());
  const [sent] = await one.append({ from: "101", to: toUser("102"), key: "k", text: "live" });
  accepted(sent);
  for (const subscriber of subscribers)
    await subscriber.until(({ texts }) => texts.includes("live"));
  await untilOutboxEmpty(stand);
});

test("a server that starts without Redis keeps its rows, and publishes them after the outage", async (t) => {
  const stand = new Stand(t, pool, open);
  const subscriber = await stand.instance("connect-2", ["u:112"]);
  await redis.kill();
  const one = await stand.server();
  const [sent] = await one.append({ from: "111", to: toUser("112"), key: "k", text: "late" });
  accepted(sent);
  stand.clock.advance(60_000);
  // replay() waits for the poll of the compensation, which fails, and deletes confirmed rows.
  await one.server.replay();
  assert.equal(await outboxRows(pool), 1);
  assert.equal(subscriber.entries.length, 0);
  await redis.restart();
  while (!(await heard(stand, "u:112"))) await new Promise(setImmediate);
  // Polls, because the server may reconnect to Redis later than the test does.
  while (!subscriber.texts.includes("late")) {
    stand.clock.advance(60_000);
    await one.server.replay();
    await new Promise(setImmediate);
  }
  await untilOutboxEmpty(stand);
});

test("while Redis has no memory for the leases, entries are delivered live", async (t) => {
  const stand = new Stand(t, pool, open);
  const subscriber = await stand.instance("connect-3", ["u:114"]);
  const one = await stand.server();
  const operator = new Redis(redis.url);
  t.after(() => operator.disconnect());
  await operator.set("filler", Buffer.alloc(2 << 20));
  await operator.config("SET", "maxmemory", "1mb");
  while ((await operator.exists("lucky:instance:connect-3")) > 0);
  const [sent] = await one.append({ from: "113", to: toUser("114"), key: "k", text: "live" });
  accepted(sent);
  await subscriber.until(({ texts }) => texts.includes("live"));
  await untilOutboxEmpty(stand);
});

/** Whether Redis knows an instance that hears the channel. */
async function heard({ registry }: Stand, channel: string): Promise<boolean> {
  const [instances = []] = await registry.locate([channel]).catch(() => []);
  return instances.length > 0;
}
