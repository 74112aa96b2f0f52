import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { TokensSchema } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { TokenKeeper } from "./tokens.ts";

const MINUTE_MS = 60_000;

function setUp() {
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
      return tokens(exchanged.length + 1);
    },
  });
  keeper.set(tokens(1), { fresh: true });
  return { clock, keeper, exchanged };
}

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

test("without a login there is no token", async () => {
  const { keeper } = setUp();
  keeper.clear();
  await assert.rejects(keeper.access(), /not logged in/);
});
