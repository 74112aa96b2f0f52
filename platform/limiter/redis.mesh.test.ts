import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Redis } from "ioredis";
import { Metrics } from "#platform/metrics.ts";
import { type Backend, startRedis } from "../../test/backends/backends.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { ageLimits } from "../../test/clock/mesh-clock.ts";
import { limiterSuite } from "./limiter.suite.ts";
import { createRedisLimiter } from "./redis.ts";

let server: Backend;

before(async () => {
  server = await startRedis();
});
after(() => server.close());

async function openEmpty(t: TestContext) {
  const raw = new Redis(server.url);
  await raw.flushall();
  raw.disconnect();
  return open(t);
}

// Redis uses its own clock.
limiterSuite("redis", { open: openEmpty, pass: (ms) => setTimeout(ms) });

// The stories age the stored counts instead of waiting. This must have the same effect as the
// passage of time.
limiterSuite("redis, aged counts", { open: openEmpty, pass: (ms) => ageLimits(server.url, ms) });

test("two instances share a budget", async (t) => {
  const [a, b] = [open(t), open(t)];
  const budget = { name: "shared", points: 2, windowMs: 60_000 };
  assert.equal((await a.take(budget, "ana")).allowed, true);
  assert.equal((await b.take(budget, "ana")).allowed, true);
  assert.equal((await a.take(budget, "ana")).allowed, false);
  assert.equal((await b.take(budget, "ana")).allowed, false);
});

const penalty = {
  name: "wrong",
  freeFailures: 2,
  firstWaitMs: 60_000,
  longestWaitMs: 60_000,
  forgetMs: 60_000,
};

test("two instances share failures", async (t) => {
  const [a, b] = [open(t), open(t)];
  assert.equal(await a.penalize(penalty, "both"), 0);
  assert.equal(await b.penalize(penalty, "both"), 60_000);
  assert.ok((await a.waiting(penalty, "both")) > 59_000);
  await a.pardon(penalty, "both");
  assert.equal(await b.waiting(penalty, "both"), 0);
});

test("while the store is unreachable, each instance counts failures alone", async (t) => {
  const metrics = new Metrics();
  const limiter = open(t, metrics);
  assert.equal(await limiter.penalize(penalty, "away"), 0);
  await server.kill();
  assert.equal(await limiter.admit(penalty, "away"), 0);
  for (const wait of [0, 60_000]) assert.equal(await limiter.penalize(penalty, "away"), wait);
  assert.ok((await limiter.admit(penalty, "away")) > 0);
  assert.match(await metrics.text(), /lucky_limiter_alone_total\{penalty="wrong"\} 4/);
  await limiter.pardon(penalty, "away");
  assert.equal(await limiter.waiting(penalty, "away"), 0);
  await server.restart();
});

test("while the store is unreachable every call is allowed; after a reconnect budgets apply", async (t) => {
  const metrics = new Metrics();
  const limiter = open(t, metrics);
  const budget = { name: "away", points: 1, windowMs: 60_000 };
  assert.equal((await limiter.take(budget, "ana")).allowed, true);
  assert.equal((await limiter.take(budget, "ana")).allowed, false);
  await server.kill();
  assert.equal((await limiter.take(budget, "ana")).allowed, true);
  assert.match(await metrics.text(), /lucky_limiter_unlimited_total\{budget="away"\} 1/);
  await server.restart();
  while ((await limiter.take(budget, "ana")).allowed) await new Promise(setImmediate);
});

test("while the store is unreachable, each instance counts the budgets of security alone", async (t) => {
  const limiter = open(t);
  const budget = { name: "secure", points: 1, windowMs: 60_000, countsAlone: true } as const;
  await server.kill();
  assert.equal((await limiter.take(budget, "ana")).allowed, true);
  assert.equal((await limiter.take(budget, "ana")).allowed, false);
  assert.equal((await limiter.take(budget, "ben")).allowed, true);
  await server.restart();
});

test("while the store refuses writes, failures and budgets of security still count", async (t) => {
  const limiter = open(t);
  const budget = { name: "full", points: 1, windowMs: 60_000, countsAlone: true } as const;
  const operator = new Redis(server.url);
  await operator.set("filler", Buffer.alloc(2 << 20));
  await operator.config("SET", "maxmemory", "1mb");
  t.after(async () => {
    await operator.config("SET", "maxmemory", "0");
    operator.disconnect();
  });
  for (const wait of [0, 60_000, 60_000])
    assert.equal(await limiter.penalize(penalty, "full"), wait);
  assert.ok((await limiter.waiting(penalty, "full")) > 0);
  assert.ok((await limiter.admit(penalty, "full")) > 0);
  assert.equal((await limiter.take(budget, "ana", 0)).allowed, true);
  assert.equal((await limiter.take(budget, "ana")).allowed, true);
  assert.equal((await limiter.take(budget, "ana", 0)).allowed, false);
  assert.equal((await limiter.take(budget, "ana")).allowed, false);
});

function open(t: TestContext, metrics = new Metrics()) {
  const limiter = createRedisLimiter({ url: server.url, log: quiet, metrics });
  t.after(() => limiter.close());
  return limiter;
}
