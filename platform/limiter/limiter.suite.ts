import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import type { Limiter } from "./limiter.ts";

/** Creates the limiters of the suite. */
export interface LimiterWorld {
  /** A limiter without counts, closed when the test ends. */
  open(t: TestContext): Promise<Limiter>;
  /** Advances the clock of the limiters. */
  pass(ms: number): Promise<void>;
}

/** The tests that every adapter of the limiter must pass. */
export function limiterSuite(name: string, world: LimiterWorld): void {
  suite(`limiter: ${name}`, () => {
    budgetTests(world);
    penaltyTests(world);
  });
}

function budgetTests(world: LimiterWorld): void {
  const minute = { name: "read", points: 3, windowMs: 60_000 };

  test("an exhausted budget refuses with the time until a retry can succeed", async (t) => {
    const limiter = await world.open(t);
    for (let i = 0; i < 3; i++)
      assert.deepEqual(await limiter.take(minute, "ana"), { allowed: true });
    const refused = await limiter.take(minute, "ana");
    assert.equal(refused.allowed, false);
    const { retryAfterMs } = refused as { retryAfterMs: number };
    assert.ok(retryAfterMs > 50_000 && retryAfterMs <= 60_000, `${retryAfterMs}`);
  });

  test("keys and budgets do not share points", async (t) => {
    const limiter = await world.open(t);
    const write = { ...minute, name: "write" };
    assert.equal((await limiter.take(minute, "ana", 3)).allowed, true);
    assert.equal((await limiter.take(minute, "ana")).allowed, false);
    assert.equal((await limiter.take(minute, "ben")).allowed, true);
    assert.equal((await limiter.take(write, "ana")).allowed, true);
  });

  test("points are available again after the window", async (t) => {
    const limiter = await world.open(t);
    const second = { name: "second", points: 1, windowMs: 1_000 };
    assert.equal((await limiter.take(second, "ana")).allowed, true);
    const refused = await limiter.take(second, "ana");
    assert.equal(refused.allowed, false);
    await world.pass((refused as { retryAfterMs: number }).retryAfterMs + 1);
    const again = await limiter.take(second, "ana");
    assert.equal(again.allowed, true);
  });

  test("a take of more points than the budget has is allowed, in a window as many times longer", async (t) => {
    const limiter = await world.open(t);
    const second = { name: "second", points: 3, windowMs: 1_000 };
    assert.equal((await limiter.take(second, "ana", 7)).allowed, true);
    const refused = await limiter.take(second, "ana");
    assert.equal(refused.allowed, false);
    const { retryAfterMs } = refused as { retryAfterMs: number };
    assert.ok(retryAfterMs > 2_000 && retryAfterMs <= 3_000, `${retryAfterMs}`);
    await world.pass(retryAfterMs + 1);
    assert.equal((await limiter.take(second, "ana")).allowed, true);
    const large = await limiter.take(second, "ana", 7);
    assert.equal(large.allowed, false, "it needs an unused window");
    await world.pass((large as { retryAfterMs: number }).retryAfterMs + 1);
    assert.equal((await limiter.take(second, "ana", 7)).allowed, true);
  });

  test("a take of no points tells what one point would get, and takes nothing", async (t) => {
    const limiter = await world.open(t);
    const look = () => limiter.take(minute, "ana", 0);
    for (let taken = 0; taken < 3; taken++) {
      assert.deepEqual(await look(), { allowed: true });
      assert.deepEqual(await look(), { allowed: true });
      assert.equal((await limiter.take(minute, "ana")).allowed, true);
    }
    const refused = await look();
    assert.equal(refused.allowed, false);
    const { retryAfterMs } = refused as { retryAfterMs: number };
    assert.ok(retryAfterMs > 50_000 && retryAfterMs <= 60_000, `${retryAfterMs}`);
  });
}

function penaltyTests(world: LimiterWorld): void {
  const penalty = {
    name: "wrong",
    freeFailures: 3,
    firstWaitMs: 1_000,
    longestWaitMs: 60_000,
    forgetMs: 600_000,
  };
  const about = (actual: number, expected: number) =>
    assert.ok(actual > expected - 500 && actual <= expected, `${actual} of ${expected}`);

  test("the first failures cause no delay, each further one doubles it up to the longest", async (t) => {
    const limiter = await world.open(t);
    const waits: number[] = [];
    for (let n = 0; n < 12; n++) waits.push(await limiter.penalize(penalty, "ana"));
    const doubled = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000];
    assert.deepEqual(waits, [0, 0, ...doubled, 60_000, 60_000, 60_000, 60_000]);
    about(await limiter.waiting(penalty, "ana"), 60_000);
    about(await limiter.admit(penalty, "ana"), 60_000);
    assert.equal(await limiter.waiting(penalty, "ben"), 0);
    assert.equal(await limiter.waiting({ ...penalty, name: "other" }, "ana"), 0);
  });

  test("when free failures are used up, one of many racing attempts is admitted", async (t) => {
    const limiter = await world.open(t);
    const short = { ...penalty, firstWaitMs: 1_000 };
    for (let n = 0; n < 3; n++) assert.equal(await limiter.admit(short, "ana"), 0);
    for (let n = 0; n < 3; n++) await limiter.penalize(short, "ana");
    assert.ok((await limiter.admit(short, "ana")) > 0);
    await world.pass(1_001);
    assert.equal(await limiter.waiting(short, "ana"), 0);
    const all = await Promise.all(Array.from({ length: 8 }, () => limiter.admit(short, "ana")));
    assert.equal(all.filter((wait) => wait === 0).length, 1);
    assert.ok(all.every((wait) => wait <= 1_000));
    assert.equal(await limiter.penalize(short, "ana"), 2_000);
  });

  test("after a pardon the key has its free failures and no delay", async (t) => {
    const limiter = await world.open(t);
    for (let n = 0; n < 5; n++) await limiter.penalize(penalty, "ana");
    await limiter.pardon(penalty, "ana");
    assert.equal(await limiter.admit(penalty, "ana"), 0);
    assert.equal(await limiter.penalize(penalty, "ana"), 0);
  });

  test("failures are reset when none was added for long, but not before the delay has ended", async (t) => {
    const limiter = await world.open(t);
    const short = { ...penalty, freeFailures: 1, firstWaitMs: 500, forgetMs: 1_000 };
    assert.equal(await limiter.penalize(short, "ana"), 500);
    assert.equal(await limiter.penalize(short, "ana"), 1_000);
    assert.equal(await limiter.penalize(short, "ana"), 2_000);
    await world.pass(1_500);
    assert.ok((await limiter.waiting(short, "ana")) > 0);
    await world.pass(501);
    assert.equal(await limiter.penalize(short, "ana"), 500);
  });
}
