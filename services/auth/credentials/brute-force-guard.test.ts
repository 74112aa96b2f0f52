import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { detailOf } from "#platform/errors.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type AuthConfig, authConfig } from "../config.ts";
import { type Attempt, createBruteForceGuard } from "./brute-force-guard.ts";

/** A guard with 3 free failures, 10 per address, delays of 1 s to 60 s, reset after an hour. */
function startGuard(t: TestContext, changed: Partial<AuthConfig> = {}) {
  const clock = new ManualClock();
  const limiter = createMemoryLimiter({ clock });
  t.after(() => limiter.close());
  const config = {
    ...defaultsOf(authConfig),
    keyEncryptionKey: "a key of tests",
    loginFreeFailures: 3,
    loginFreeFailuresPerAddress: 10,
    loginDelayMs: 1_000,
    loginMaxDelayMs: 60_000,
    loginForgetSeconds: 3_600,
    ...changed,
  };
  /** Keys of all counters that were used. */
  const keys = new Set<string>();
  const penalize: Limiter["penalize"] = (penalty, key) => {
    keys.add(`${penalty.name} ${key}`);
    return limiter.penalize(penalty, key);
  };
  const guard = createBruteForceGuard({ config, limiter: { ...limiter, penalize } });
  return {
    config,
    keys,
    clock,
    guard,
    /** Attempts one wrong password. Returns the delay that preceded it, 0 for none. */
    async wrong(attempt: Attempt): Promise<number> {
      const lock = await guard.check(attempt);
      if (lock.kind === "locked") return lock.retryAfterMs;
      await guard.failed(attempt);
      return 0;
    },
  };
}

const ana = { account: "ana", exists: true, address: "203.0.113.1" };
const elsewhere = { account: "ana", exists: true, address: "203.0.113.2" };

test("the free failures and the delays follow their settings", async (t) => {
  const { config, wrong } = startGuard(t);
  for (let n = 0; n < 3; n++) assert.equal(await wrong(ana), 0);
  assert.equal(await wrong(ana), 1_000);
  Object.assign(config, { loginFreeFailures: 1, loginDelayMs: 5_000 });
  const ben = { ...ana, account: "ben" };
  assert.deepEqual([await wrong(ben), await wrong(ben)], [0, 5_000]);
});

test("after the free failures each further failure doubles the delay, up to the longest", async (t) => {
  const { clock, guard, wrong } = startGuard(t, { loginFreeFailuresPerAddress: 100 });
  for (let n = 0; n < 3; n++) assert.equal(await wrong(ana), 0);
  for (const seconds of [1, 2, 4, 8, 16, 32, 60, 60]) {
    assert.equal(await wrong(ana), seconds * 1_000);
    clock.advance(seconds * 1_000 - 1);
    assert.equal(await wrong(ana), 1);
    clock.advance(1);
    assert.equal(await wrong(ana), 0);
  }
  assert.equal((await guard.check({ ...ana, account: "ben" })).kind, "free");
});

test("all addresses of one IPv6 network are throttled together", async (t) => {
  const { guard } = startGuard(t);
  const from = (n: number) => ({
    account: `a${n}`,
    exists: true,
    address: `2001:db8:1:2::${n.toString(16)}`,
  });
  for (let n = 1; n <= 10; n++) await guard.failed(from(n));
  await assert.rejects(guard.check(from(11)), (error) => {
    assert.equal(detailOf(error)?.reason, ErrorReason.RATE_LIMITED);
    return true;
  });
  const neighbour = { account: "ana", exists: true, address: "2001:db8:1:3::1" };
  assert.equal((await guard.check(neighbour)).kind, "free");
});

test("all /64 networks of one /48 network are throttled together, after sixteen times as many failures", async (t) => {
  const { guard } = startGuard(t);
  const from = (n: number, site = 1) => ({
    account: `a${n}`,
    exists: true,
    address: `2001:db8:${site}:${n.toString(16)}::1`,
  });
  for (let n = 1; n <= 159; n++) await guard.failed(from(n));
  assert.equal((await guard.check(from(1_000))).kind, "free");
  await guard.failed(from(160));
  await assert.rejects(guard.check(from(1_000)), (error) => {
    assert.equal(detailOf(error)?.reason, ErrorReason.RATE_LIMITED);
    return true;
  });
  assert.equal((await guard.check(from(1_000, 2))).kind, "free");
});

test("attempts during the delay change nothing, from any address", async (t) => {
  const { clock, wrong } = startGuard(t);
  for (let n = 0; n < 3; n++) await wrong(ana);
  for (let n = 0; n < 100; n++) assert.equal(await wrong(n % 2 ? ana : elsewhere), 1_000);
  clock.advance(1_000);
  assert.equal(await wrong(ana), 0);
  assert.equal(await wrong(elsewhere), 2_000);
});

test("of many concurrent attempts on an account under attack one is admitted", async (t) => {
  const { clock, guard } = startGuard(t);
  for (let n = 0; n < 3; n++) await guard.failed(ana);
  clock.advance(1_000);
  const from = (n: number) => ({ account: "ana", exists: true, address: `203.0.113.${n}` });
  const all = await Promise.all(Array.from({ length: 50 }, (_, n) => guard.check(from(n))));
  assert.equal(all.filter(({ kind }) => kind === "free").length, 1);
});

test("a success clears the failures of the account and the pair, but not of other pairs", async (t) => {
  const { guard, wrong } = startGuard(t);
  for (let n = 0; n < 3; n++) await wrong(ana);
  await guard.succeeded(elsewhere);
  // The owner logged in from another address; attempts from the guesser's address are still
  // delayed.
  assert.equal(await wrong(ana), 1_000);
  for (let n = 0; n < 2; n++) assert.equal(await wrong(elsewhere), 0);
  await guard.succeeded(elsewhere);
  for (let n = 0; n < 3; n++) assert.equal(await wrong(elsewhere), 0);
});

test("an address that guesses on many accounts is throttled with RATE_LIMITED", async (t) => {
  const { clock, guard, wrong } = startGuard(t);
  for (let n = 0; n < 10; n++)
    assert.equal(await wrong({ account: `user-${n}`, exists: true, address: ana.address }), 0);
  await assert.rejects(
    guard.check({ account: "user-11", exists: true, address: ana.address }),
    (error) => {
      assert.equal(detailOf(error)?.reason, ErrorReason.RATE_LIMITED);
      assert.equal(detailOf(error)?.retryAfterMs, 1_000n);
      return true;
    },
  );
  assert.equal(
    (await guard.check({ account: "user-11", exists: true, address: elsewhere.address })).kind,
    "free",
  );
  // A successful login does not clear the failures of an address.
  await guard.succeeded({ account: "mine", exists: true, address: ana.address });
  await assert.rejects(guard.check({ account: "user-11", exists: true, address: ana.address }));
  clock.advance(1_000);
  assert.equal(
    (await guard.check({ account: "user-11", exists: true, address: ana.address })).kind,
    "free",
  );
});

test("a lock is disclosed 20 times a day over all waits, so that guessing cannot continue", async (t) => {
  const { clock, guard } = startGuard(t);
  for (let n = 0; n < 9; n++)
    await guard.failed({ account: "ana", exists: true, address: `203.0.113.${n}` });
  /** Number of attempts that learn of the lock, of 30 during each of many waits. */
  const disclosed = async (waits: number) => {
    let count = 0;
    for (let wait = 0; wait < waits; wait++) {
      for (let n = 0; n < 30; n++) {
        const lock = await guard.check(elsewhere);
        assert.equal(lock.kind, "locked");
        if (lock.kind === "locked" && lock.disclose) count++;
      }
      clock.advance(60_000);
      await guard.failed({ account: "ana", exists: true, address: `198.51.100.${wait}` });
    }
    return count;
  };
  assert.equal(await disclosed(20), 20);
  clock.advance(86_400_000 - 21 * 60_000);
  for (let n = 0; n < 9; n++)
    await guard.failed({ account: "ana", exists: true, address: `203.0.113.${n}` });
  assert.equal(await disclosed(1), 0);
  assert.equal(await disclosed(2), 20);
});

test("names without an account share a bounded number of counters, apart from those of accounts", async (t) => {
  const { guard, keys, wrong } = startGuard(t, { loginFreeFailuresPerAddress: 100_000 });
  for (let n = 0; n < 40_000; n++)
    await guard.failed({ account: `nobody-${n}`, exists: false, address: `203.0.113.${n % 100}` });
  assert.ok(keys.size <= 2 * 16_384 + 100, `${keys.size}`);
  // Every shared counter is locked or close to it; the counters of an account are not affected.
  for (let n = 0; n < 3; n++) assert.equal(await wrong(ana), 0);
  assert.equal(await wrong(ana), 1_000);
  // A name alone is delayed like an account.
  const other = startGuard(t);
  const nobody = { account: "nobody", exists: false, address: "203.0.113.1" };
  for (let n = 0; n < 3; n++) assert.equal(await other.wrong(nobody), 0);
  assert.equal(await other.wrong({ ...nobody, address: "203.0.113.9" }), 1_000);
});

test("failures expire after the configured time without a failure", async (t) => {
  const { clock, guard, wrong } = startGuard(t);
  for (let n = 0; n < 8; n++) await guard.failed(ana);
  clock.advance(3_599_999);
  assert.equal(await wrong(ana), 0);
  assert.equal(await wrong(ana), 60_000);
  clock.advance(3_600_000);
  for (let n = 0; n < 3; n++) assert.equal(await wrong(ana), 0);
});
