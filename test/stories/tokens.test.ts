import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService } from "../../gen/lucky/auth/v1/auth_pb.js";
import { CloseCode } from "../../gen/lucky/frame/v1/frame_pb.js";
import { UserService } from "../../gen/lucky/user/v1/user_pb.js";
import { HandClock } from "../clock.ts";
import { callers, people } from "../people.ts";
import { RawDevice } from "../raw.ts";
import { startWorld, testMode } from "../world.ts";

const timeout = 120_000;
const world = await startWorld(
  {
    after,
  },
  {
    settings: {
      LUCKY_AUTH_ACCESS_TOKEN_SECONDS: "10",
      LUCKY_CONNECT_TOKEN_EXPIRING_MS: "8000",
    },
  },
);

test("a token near its end is announced, and renewed without a reconnect; another one ends", {
  timeout,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const [tokens, idle] = [await ana!.login(), await ana!.login()];
  const device = await RawDevice.hello(world.url, tokens.accessToken);
  const silent = await RawDevice.hello(world.url, idle.accessToken);
  t.after(() => device.close());
  const { expiresAtMs } = await device.next("tokenExpiring");
  assert.equal(expiresAtMs, tokens.accessTokenExpiresAtMs);
  const { refreshToken } = tokens;
  const fresh = (await callers(world.url, AuthService).refresh({ refreshToken })).tokens!;
  device.send({ case: "renew", value: { accessToken: fresh.accessToken } });
  await silent.next("tokenExpiring");
  assert.equal((await silent.closed).code, CloseCode.TOKEN_EXPIRED);
  // The renewed one outlives its first token, and hears of its second one's end in its turn.
  await device.roundTrip();
  const again = await device.next("tokenExpiring");
  assert.equal(again.expiresAtMs, fresh.accessTokenExpiresAtMs);
});

test("a client keeps its session over the ends of its tokens", { timeout }, async (t) => {
  const [ana] = await people(world, "ana");
  const { client } = await ana!.phone();
  t.after(() => ana!.leave());
  await client.connect();
  const states: string[] = [];
  client.on("state", ({ kind }) => states.push(kind));
  const first = client.tokens!;
  const witness = await RawDevice.hello(world.url, (await ana!.login()).accessToken);
  await client.next("tokens");
  // Its token is younger than the client's first one.
  assert.equal((await witness.closed).code, CloseCode.TOKEN_EXPIRED);
  assert.notEqual(client.tokens!.refreshToken, first.refreshToken);
  await client.callOverSocket(UserService.method.getMyProfile, {});
  assert.deepEqual(states, []);
});

test("by the clock: announced a minute before the quarter of an hour is over, then closed", {
  timeout,
  skip: testMode === "mesh" && "processes of a mesh have clocks of their own",
}, async (t) => {
  const clock = new HandClock(Date.now());
  const timed = await startWorld(t, {
    overrides: { clock },
    settings: { LUCKY_CONNECT_HEARTBEAT_INTERVAL_MS: "300000" },
  });
  const [ana] = await people(timed, "ana");
  const { accessToken, accessTokenExpiresAtMs } = await ana!.login();
  const device = await RawDevice.hello(timed.url, accessToken);
  const leftMs = () => Number(accessTokenExpiresAtMs) - clock.now();
  while (leftMs() > 70_000) {
    clock.advance(Math.min(200_000, leftMs() - 62_000));
    await device.roundTrip();
  }
  assert.equal(device.seen("tokenExpiring").length, 0);
  clock.advance(3_000);
  assert.equal((await device.next("tokenExpiring")).expiresAtMs, accessTokenExpiresAtMs);
  clock.advance(leftMs() - 1_001);
  await device.roundTrip();
  clock.advance(2_001);
  assert.equal((await device.closed).code, CloseCode.TOKEN_EXPIRED);
});
