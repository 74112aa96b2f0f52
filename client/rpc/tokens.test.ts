import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { TokensSchema } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { LuckyError, reasonOf } from "../error.ts";
import { TokenKeeper } from "./tokens.ts";

const MINUTE_MS = 60_000;

/** Exchanges fail with `failures`, in this order, before they succeed. */
function setUp(failures: ErrorReason[] = []) {
  const clock = new ManualClock();
  const exchanged: string[] = [];
  const tokens = (n: number) =>
    create(TokensSchema, {
      accessToken: `access ${n}`,
      refreshToken: `refresh ${n}`,
      accessTokenExpiresAtMs: BigInt(clock.now() + 15 * MINUTE_MS),
    });
  const keeper = new TokenKeeper({
    clock,
    changed: () => {},
    exchange: async (refreshToken) => {
      exchanged.push(refreshToken);
      const failure = failures.shift();
      if (failure !== undefined) throw new LuckyError(failure, "");
      return tokens(exchanged.length + 1);
    },
  });
  keeper.set(tokens(1), { fresh: true });
  return { clock, keeper, exchanged };
}

/** Moves the clock until the call has ended. */
async function ended<T>(clock: ManualClock, call: Promise<T>): Promise<T> {
  let pending = true;
  const done = () => {
    pending = false;
  };
  call.then(done, done);
  while (pending) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(100);
  }
  return call;
}

const LOST = ErrorReason.UNAVAILABLE;

test("a token is exchanged shortly before it expires, once for concurrent callers", async () => {
  const { clock, keeper, exchanged } = setUp();
  clock.advance(14 * MINUTE_MS);
  assert.equal(await keeper.access(), "access 1");
  clock.advance(30_000);
  const asked = await Promise.all([keeper.access(), keeper.access(), keeper.refresh("access 1")]);
  assert.deepEqual(asked, ["access 2", "access 2", "access 2"]);
  assert.deepEqual(exchanged, ["refresh 1"]);
});

test("a token that another caller has exchanged is not exchanged twice", async () => {
  const { keeper, exchanged } = setUp();
  await keeper.refresh("access 1");
  assert.equal(await keeper.refresh("access 1"), "access 2");
  assert.equal(exchanged.length, 1);
});

test("an exchange without an answer is retried with the same token, well within the grace time", async () => {
  const { clock, keeper, exchanged } = setUp([LOST, ErrorReason.DEADLINE_EXCEEDED]);
  const startedAtMs = clock.now();
  const [one, other] = await ended(
    clock,
    Promise.all([keeper.refresh("access 1"), keeper.refresh("access 1")]),
  );
  assert.deepEqual([one, other], ["access 4", "access 4"]);
  assert.deepEqual(exchanged, ["refresh 1", "refresh 1", "refresh 1"]);
  assert.ok(clock.now() - startedAtMs < 3_000);
});

test("an exchange that stays without an answer fails, and keeps the token for the next call", async () => {
  const { clock, keeper, exchanged } = setUp([LOST, LOST, LOST]);
  const failed = ended(clock, keeper.refresh("access 1"));
  await assert.rejects(failed, (error) => reasonOf(error) === LOST);
  assert.equal(await keeper.refresh("access 1"), "access 5");
  assert.deepEqual(new Set(exchanged), new Set(["refresh 1"]));
});

test("a refused exchange is not retried", async () => {
  for (const reason of [ErrorReason.REFRESH_TOKEN_INVALID, ErrorReason.RATE_LIMITED]) {
    const { keeper, exchanged } = setUp([reason]);
    await assert.rejects(keeper.refresh("access 1"), (error) => reasonOf(error) === reason);
    assert.equal(exchanged.length, 1);
  }
});

test("a retry ends with its login", async () => {
  const { clock, keeper, exchanged } = setUp([LOST]);
  const refreshing = keeper.refresh("access 1");
  keeper.clear();
  await assert.rejects(ended(clock, refreshing), (error) => reasonOf(error) === LOST);
  assert.equal(exchanged.length, 1);
});

test("a device with a wrong clock uses the server's time", async () => {
  const { clock, keeper } = setUp();
  keeper.serverTime(clock.now() + 14.9 * MINUTE_MS);
  assert.equal(await keeper.access(), "access 2");
});

test("a device whose clock is ahead does not exchange a token that was just issued", async () => {
  const { clock, keeper, exchanged } = setUp();
  const serverMs = clock.now() - 60 * MINUTE_MS;
  const claims = btoa(JSON.stringify({ iat: serverMs / 1_000 }));
  const accessToken = `header.${claims}.signature`;
  const accessTokenExpiresAtMs = BigInt(serverMs + 15 * MINUTE_MS);
  keeper.set(create(TokensSchema, { accessToken, accessTokenExpiresAtMs }), { fresh: true });
  assert.equal(await keeper.access(), accessToken);
  clock.advance(14.6 * MINUTE_MS);
  await keeper.access();
  assert.equal(exchanged.length, 1);
});

test("a refresh token as proof is the one that a due refresh returned", async () => {
  const { clock, keeper } = setUp();
  assert.equal(await keeper.refreshToken(), "refresh 1");
  clock.advance(14.6 * MINUTE_MS);
  assert.equal(await keeper.refreshToken(), "refresh 2");
  const refreshing = keeper.refresh("access 2");
  assert.equal(await keeper.refreshToken(), "refresh 3");
  await refreshing;
});

test("without a login there is no token", async () => {
  const { keeper } = setUp();
  keeper.clear();
  await assert.rejects(keeper.access(), /not logged in/);
  await assert.rejects(keeper.refreshToken(), /not logged in/);
});

test("when the time of day steps back, a token is exchanged by the time that elapsed", async () => {
  const { clock, keeper, exchanged } = setUp();
  keeper.serverTime(clock.now());
  clock.step(-60 * MINUTE_MS);
  clock.advance(14 * MINUTE_MS);
  assert.equal(await keeper.access(), "access 1");
  clock.advance(30_000);
  assert.equal(await keeper.access(), "access 2");
  assert.equal(exchanged.length, 1);
});

test("a device that slept, while no time elapsed, exchanges its expired token", async () => {
  const { clock, keeper } = setUp();
  keeper.serverTime(clock.now());
  clock.step(15 * MINUTE_MS);
  assert.equal(await keeper.access(), "access 2");
});
