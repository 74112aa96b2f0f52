import assert from "node:assert/strict";
import { mkdir, rm } from "node:fs/promises";
import { createConnection, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { unavailable } from "#platform/bus/bus.suite.ts";
import { systemClock } from "#platform/clock.ts";
import { Metrics } from "#platform/metrics.ts";
import { type Backend, startRedis } from "../../test/backends/backends.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { emptyRedis, openOperator } from "./redis.fixture.ts";
import { createRedisRegistry, type RedisRegistryOptions } from "./redis.ts";
import { ids, instance, PausableClock, replacing, session } from "./registry.fixture.ts";
import type { Registry } from "./registry.ts";

const LEASE_MS = 600;
/** A lease that does not end within a test. */
const NEVER_MS = 3_600_000;
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

/** Ways in which a Redis that answers refuses to write: how it begins, and how it ends. */
const REFUSALS = {
  OOM: {
    async begin() {
      await raw.set("filler", Buffer.alloc(2 << 20));
      await raw.config("SET", "maxmemory", "1mb");
    },
    end: () => raw.config("SET", "maxmemory", "0"),
  },
  READONLY: {
    // The primary does not exist: the replica keeps its data, which become stale.
    begin: () => raw.call("REPLICAOF", "127.0.0.1", "1"),
    end: () => raw.call("REPLICAOF", "NO", "ONE"),
  },
  NOREPLICAS: {
    begin: () => raw.config("SET", "min-replicas-to-write", "1"),
    end: () => raw.config("SET", "min-replicas-to-write", "0"),
  },
  NOPERM: {
    begin: () => raw.call("ACL", "SETUSER", "default", "-@write"),
    end: () => raw.call("ACL", "SETUSER", "default", "+@all"),
  },
  MISCONF: {
    async begin() {
      // A folder under the name of the snapshot: Redis cannot write it.
      await mkdir(join(server.dir, "dump.rdb", "full"), { recursive: true });
      await raw.config("SET", "save", "3600 1");
      await raw.bgsave();
      while (!/rdb_last_bgsave_status:err/.test(await raw.info("persistence")));
    },
    async end() {
      await raw.config("SET", "save", "");
      await rm(join(server.dir, "dump.rdb"), { recursive: true, force: true });
    },
  },
};

for (const [error, { begin, end }] of Object.entries(REFUSALS)) {
  test(`while Redis refuses writes (${error}), known instances stay and no channel is believed silent`, async (t) => {
    await emptyRedis(raw);
    const metrics = new Metrics();
    const [a, b] = [open(t), open(t, { metrics })];
    const lost = Promise.withResolvers<void>();
    const lease = await a.announce(instance("connect-0"), () => lost.resolve());
    await lease.join(["u:1"]);
    assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
    assert.deepEqual(await b.locate(["u:1"]), [["connect-0"]]);
    await untilGauge(metrics, 1);

    await begin();
    t.after(end);
    while ((await raw.exists("lucky:instance:connect-0")) > 0);
    assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
    await assert.rejects(b.locate(["u:1"]), unavailable);
    await assert.rejects(lease.join(["u:2"]), unavailable);
    await assert.rejects(
      lease.claim(session("s1", "phone-1", "connect-0"), replacing(1)),
      unavailable,
    );
    await untilGauge(metrics, 0);

    await end();
    await lost.promise;
    assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
    await untilServed(() => lease.join(["u:1"]));
    assert.deepEqual(await untilServed(() => b.locate(["u:1"])), [["connect-0"]]);
    await untilGauge(metrics, 1);
  });
}

/** Ways in which a Redis that answers refuses to read, too. */
const BLACKOUTS = {
  MASTERDOWN: {
    async begin() {
      await raw.config("SET", "replica-serve-stale-data", "no");
      await raw.call("REPLICAOF", "127.0.0.1", "1");
    },
    async end() {
      await raw.call("REPLICAOF", "NO", "ONE");
      await raw.config("SET", "replica-serve-stale-data", "yes");
    },
  },
  BUSY: {
    async begin(t: TestContext) {
      await raw.config("SET", "busy-reply-threshold", "1");
      const client = openOperator(server.url);
      t.after(() => client.disconnect());
      client.eval("while true do end", 0).catch(() => {});
      while ((await raw.ping().catch(() => "BUSY")) === "PONG");
    },
    end: () => raw.script("KILL"),
  },
};

for (const [error, { begin, end }] of Object.entries(BLACKOUTS)) {
  test(`while Redis refuses every command (${error}), it counts as unreachable`, async (t) => {
    await emptyRedis(raw);
    const metrics = new Metrics();
    const [a, b] = [open(t), open(t, { metrics })];
    const lease = await a.announce(instance("connect-0"), () => void lease.join(["u:1"]));
    await lease.join(["u:1"]);
    assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
    await begin(t);
    assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
    await assert.rejects(b.locate(["u:1"]), unavailable);
    await untilGauge(metrics, 0);
    await end();
    while ((await untilServed(() => b.locate(["u:1"])))[0]!.length === 0);
    assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
  });
}

test("after a flush, known instances stay and no channel is believed silent", async (t) => {
  await emptyRedis(raw);
  const [a, b] = [open(t), open(t)];
  const lost = Promise.withResolvers<void>();
  const lease = await a.announce(instance("connect-0"), () => lost.resolve());
  await lease.join(["u:1"]);
  assert.deepEqual(await b.instances("connect"), [instance("connect-0")]);
  assert.deepEqual(await b.locate(["u:1"]), [["connect-0"]]);
  await raw.flushall();
  const [instances] = await Promise.all([
    b.instances("connect"),
    assert.rejects(b.locate(["u:1"]), unavailable),
  ]);
  assert.deepEqual(instances, [instance("connect-0")]);
  await lost.promise;
  await lease.join(["u:1"]);
  assert.deepEqual(await untilServed(() => b.locate(["u:1"])), [["connect-0"]]);
});

for (const loss of ["flushed", "evicted"] as const) {
  test(`a process that starts after Redis ${loss} registrations trusts no absence until a lease has passed`, async (t) => {
    await emptyRedis(raw);
    const suspended = new PausableClock(systemClock);
    const [a, b] = [open(t, { clock: suspended }), open(t)];
    const lease = await a.announce(instance("connect-0"), () => void lease.join(["u:1"]));
    await lease.join(["u:1"]);
    assert.deepEqual(await b.locate(["u:1"]), [["connect-0"]]);
    suspended.pause();
    if (loss === "flushed") await raw.flushall();
    else await evictKeys(t);
    await raw.del("lucky:channel:u:1");

    // Any process may be the first to notice the loss.
    const [first, second] = [1, 2].map(() => open(t, { leaseMs: NEVER_MS, cacheMs: NEVER_MS })) as [
      Registry,
      Registry,
    ];
    await assert.rejects(first.locate(["u:1"]), unavailable);
    await assert.rejects(second.locate(["u:1"]), unavailable);
    // A list that was read before is not reused: the next instance may be in it.
    assert.deepEqual(ids(await second.instances("server")), []);
    await b.announce(instance("server-0", { service: "server" }), () => {});
    assert.deepEqual(ids(await second.instances("server")), ["server-0"]);

    suspended.resume();
    const third = open(t);
    assert.deepEqual(await untilServed(() => third.locate(["u:1"])), [["connect-0"]]);
    assert.deepEqual(await open(t).locate(["u:1"]), [["connect-0"]]);
  });
}

test("a process that starts long after a loss trusts Redis at once, also when the clock of Redis was set back", async (t) => {
  await emptyRedis(raw);
  assert.deepEqual(await open(t, { leaseMs: 60_000 }).locate(["u:1"]), [[]]);
  await raw.hset("lucky:loss", "lostAtMs", Date.now() + 86_400_000);
  const metrics = new Metrics();
  open(t, { metrics });
  await untilGauge(metrics, 0);
  await untilGauge(metrics, 1);
});

test("registrations are repeated after Redis evicted keys", async (t) => {
  await emptyRedis(raw);
  const [a, b] = [open(t), open(t)];
  const lost = Promise.withResolvers<void>();
  const channels = Array.from({ length: 100 }, (_, i) => `u:${i}`);
  const lease = await a.announce(instance("connect-0"), () => {
    lease.join(channels).then(lost.resolve, lost.reject);
  });
  await lease.join(channels);
  await evictKeys(t);
  await lost.promise;
  const isLocated = (instanceIds: readonly string[]) => instanceIds.includes("connect-0");
  while (!(await untilServed(() => b.locate(channels))).every(isLocated));
});

test("after a failover the connection moves to the new primary, and registrations are repeated", async (t) => {
  const primaries = await Promise.all([startRedis(), startRedis()]);
  t.after(() => Promise.all(primaries.map((one) => one.close())));
  const [old, next] = primaries;
  const [oldPrimary, newPrimary] = [openOperator(old.url), openOperator(next.url)];
  t.after(() => {
    oldPrimary.disconnect();
    newPrimary.disconnect();
  });
  await emptyRedis(oldPrimary);
  await oldPrimary.config("SET", "repl-diskless-sync-delay", "0");
  await newPrimary.call("REPLICAOF", "127.0.0.1", String(old.port));
  while (!/master_link_status:up/.test(await newPrimary.info("replication")));

  const name = await openName(t, old.port);
  const [a, b] = [open(t, { url: name.url }), open(t, { url: name.url })];
  const lost = Promise.withResolvers<void>();
  const lease = await a.announce(instance("connect-0"), () => lost.resolve());
  await lease.join(["u:1"]);
  assert.deepEqual(await b.locate(["u:1"]), [["connect-0"]]);

  await newPrimary.call("REPLICAOF", "NO", "ONE");
  // Lost in the failover: the replica had not received it.
  await newPrimary.del("lucky:channel:u:1");
  const starting = open(t, { url: next.url, leaseMs: NEVER_MS });
  await assert.rejects(starting.locate(["u:1"]), unavailable);
  name.port = next.port;
  await oldPrimary.call("REPLICAOF", "127.0.0.1", String(next.port));
  await lost.promise;
  await untilServed(() => lease.join(["u:1"]));
  assert.equal(await newPrimary.exists("lucky:channel:u:1"), 1);
  assert.deepEqual(await untilServed(() => b.locate(["u:1"])), [["connect-0"]]);
});

test("scripts that Redis has forgotten are sent to it again", async (t) => {
  await emptyRedis(raw);
  const registry = open(t);
  const lease = await registry.announce(instance("connect-0"), () => {});
  await lease.join(["u:1"]);
  await registry.locate(["u:1"]);
  await raw.script("FLUSH");
  await lease.join(["u:2"]);
  assert.deepEqual(await registry.locate(["u:1", "u:2"]), [["connect-0"], ["connect-0"]]);
});

/** Fills the memory of Redis until it evicts keys. */
async function evictKeys(t: TestContext): Promise<void> {
  const evicted = async () => /^evicted_keys:(\d+)/m.exec(await raw.info("stats"))![1]!;
  const before = await evicted();
  for (let i = 0; i < 100; i++) await raw.set(`filler:${i}`, Buffer.alloc(100_000));
  await raw.config("SET", "maxmemory-policy", "allkeys-random");
  t.after(() => raw.config("SET", "maxmemory-policy", "noeviction"));
  await raw.config("SET", "maxmemory", "5mb");
  while ((await evicted()) === before) await raw.set("filler", "x");
  await raw.config("SET", "maxmemory", "0");
}

function open(t: TestContext, over: Partial<RedisRegistryOptions> = {}) {
  const times = { leaseMs: LEASE_MS, cacheMs: 0, checkMs: 50 };
  const options = { url: server.url, clock: systemClock, log: quiet, ...times, ...over };
  const registry = createRedisRegistry(options);
  t.after(() => registry.close());
  return registry;
}

/** Waits until a check has set the gauge. */
async function untilGauge(metrics: Metrics, value: 0 | 1): Promise<void> {
  const line = new RegExp(`^lucky_registry_complete ${value}$`, "m");
  while (!line.test(await metrics.text())) await new Promise(setImmediate);
}

/** Retries a call while it is UNAVAILABLE. */
async function untilServed<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      unavailable(error);
      await new Promise(setImmediate);
    }
  }
}

/** A name of Redis that leads new connections to a port, as DNS or a load balancer does. */
async function openName(t: TestContext, port: number) {
  const ends = new Set<Socket>();
  const name = { port, url: "" };
  const listener = createServer((near) => {
    const far = createConnection(name.port, "127.0.0.1");
    near.pipe(far).pipe(near);
    for (const end of [near, far]) {
      ends.add(end);
      end.on("error", () => {});
      end.on("close", () => {
        ends.delete(end);
        near.destroy();
        far.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    listener.close();
    for (const end of ends) end.destroy();
  });
  name.url = `redis://127.0.0.1:${(listener.address() as { port: number }).port}`;
  return name;
}
