import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { unavailable } from "#platform/bus/bus.suite.ts";
import { type Clock, systemClock } from "#platform/clock.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { type Backend, startRedis } from "../../test/backends/backends.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { emptyRedis, openOperator } from "./redis.fixture.ts";
import { createRedisRegistry } from "./redis.ts";
import { instance, kept, PausableClock, replacing, session } from "./registry.fixture.ts";
import { registrySuite } from "./registry.suite.ts";

const LEASE_MS = 1_500;
const CACHE_MS = 100;
let server: Backend;
let raw: ReturnType<typeof openOperator>;

before(async () => {
  server = await startRedis();
  raw = openOperator(server.url);
});
after(async () => {
  raw.disconnect();
  await server.close();
});

registrySuite("redis", {
  async open(t) {
    await emptyRedis(raw);
    const time = new AheadClock();
    return async () => {
      const clock = new PausableClock(time);
      const registry = open(t, clock);
      return {
        registry,
        async expireLeases() {
          clock.pause();
          const before = await raw.keys("lucky:instance:*");
          while ((await raw.exists(...before)) === before.length);
          time.ahead += CACHE_MS;
        },
        resume: () => clock.resume(),
      };
    };
  },
});

test("an instance whose entry was lost is re-entered, and works after it repeats its joins and claims", async (t) => {
  await emptyRedis(raw);
  const metrics = new Metrics();
  const [a, b] = [open(t, systemClock, { metrics }), open(t)];
  const lost = Promise.withResolvers<void>();
  const lease = await a.announce(instance("connect-0"), () => lost.resolve());
  const claim = session("s1", "phone-1", "connect-0");
  await lease.join(["u:1"]);
  await lease.claim(claim, replacing(1));
  await raw.flushall();
  await assert.rejects(b.locate(["u:1"]), unavailable);
  await lost.promise;
  await lease.join(["u:1"]);
  assert.deepEqual(await lease.claim(claim, replacing(1)), kept());
  assert.deepEqual(await untilReached(() => b.locate(["u:1"])), [["connect-0"]]);
  assert.equal((await b.instances("connect")).length, 1);
  assert.match(await metrics.text(), /lucky_registry_leases_lost_total\{cause="expired"\} 1/);
});

test("an instance recognises its own lease when the response to its entry was lost", async (t) => {
  await emptyRedis(raw);
  const lost = Promise.withResolvers<void>();
  const events: string[] = [];
  const stream = { write: (line: string) => void events.push(JSON.parse(line).event) };
  const log = createLog({ service: "test", instanceId: "test", level: "info", stream });
  const clock = systemClock;
  const registry = createRedisRegistry({ url: server.url, clock, log, leaseMs: LEASE_MS });
  t.after(() => registry.close());
  await registry.announce(instance("connect-0"), () => lost.resolve());
  await raw.flushall();
  // The delay exceeds the time-out of a command, so the response arrives too late.
  await raw.call("CLIENT", "PAUSE", "3000", "ALL");
  await lost.promise;
  assert.ok(events.includes("lease_not_renewed"));
  assert.ok(!events.includes("lease_taken"));
});

test("while Redis is unreachable, calls are UNAVAILABLE at once, and the last known instances are returned", async (t) => {
  await emptyRedis(raw);
  const [a, b] = [open(t), open(t)];
  const lost = Promise.withResolvers<void>();
  const lease = await a.announce(instance("connect-0"), () => lost.resolve());
  await lease.join(["u:1"]);
  assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
  await server.kill();
  await assert.rejects(b.locate(["u:1"]), unavailable);
  await assert.rejects(lease.join(["u:2"]), unavailable);
  await assert.rejects(
    lease.claim(session("s1", "phone-1", "connect-0"), replacing(1)),
    unavailable,
  );
  assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
  assert.deepEqual(await b.instances("server"), []);
  const late = open(t);
  await assert.rejects(
    late.announce(instance("connect-1"), () => {}),
    unavailable,
  );

  await server.restart();
  await lost.promise;
  await lease.join(["u:1"]);
  const located = await untilReached(() => b.locate(["u:1"]));
  assert.deepEqual(located, [["connect-0"]]);
});

test("an instance that restarts after a crash gets its name when the old lease expires", async (t) => {
  await emptyRedis(raw);
  const crashing = new PausableClock(systemClock);
  const [a, b] = [open(t, crashing), open(t)];
  const old = await a.announce(instance("connect-0"), () => {});
  await old.join(["u:1"]);
  crashing.pause();
  const lease = await b.announce(instance("connect-0"), () => {});
  assert.deepEqual(await b.locate(["u:1"]), [[]]);
  await lease.join(["u:1"]);
  assert.deepEqual(await b.locate(["u:1"]), [["connect-0"]]);
  // The old process continues later: it regains neither its name nor its channels.
  crashing.resume();
  await old.release();
  assert.deepEqual(await b.locate(["u:1"]), [["connect-0"]]);
});

test("a process that lost its connection keeps its lease when it reconnects in time", async (t) => {
  await emptyRedis(raw);
  const slow = { leaseMs: 60_000 };
  const [a, b] = [open(t, systemClock, slow), open(t, systemClock, slow)];
  const lease = await a.announce(instance("connect-0"), () => assert.fail("the entry was lost"));
  await lease.join(["u:1"]);
  await raw.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  const located = await untilReached(() => b.locate(["u:1"]));
  assert.deepEqual(located, [["connect-0"]]);
  await untilReached(() => lease.join(["u:2"]));
});

test("a clock that is set back does not extend the cache of instances", async (t) => {
  await emptyRedis(raw);
  const clock = new ManualClock();
  const [a, b] = [open(t, clock), open(t)];
  assert.deepEqual(await a.instances("connect"), []);
  const lease = await b.announce(instance("connect-0"), () => {});
  await lease.join(["u:1"]);
  assert.deepEqual(await a.locate(["u:1"]), [["connect-0"]]);
  clock.step(-3_600_000);
  clock.advance(CACHE_MS);
  assert.equal((await a.instances("connect")).length, 1);
  await lease.release();
  assert.deepEqual(await a.locate(["u:1"]), [[]]);
});

function open(
  t: TestContext,
  clock: Clock = systemClock,
  over: { leaseMs?: number; metrics?: Metrics } = {},
) {
  const times = { leaseMs: LEASE_MS, cacheMs: CACHE_MS, ...over };
  const registry = createRedisRegistry({ url: server.url, clock, log: quiet, ...times });
  t.after(() => registry.close());
  return registry;
}

/** Retries a call until the connection is restored. */
async function untilReached<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      unavailable(error);
      await new Promise(setImmediate);
    }
  }
}

/** The system's time, which the test can set ahead, so that cached entries expire at once. */
class AheadClock implements Clock {
  ahead = 0;
  readonly after = systemClock.after;
  readonly every = systemClock.every;

  now(): number {
    return systemClock.now() + this.ahead;
  }

  elapsed(): number {
    return systemClock.elapsed() + this.ahead;
  }
}
