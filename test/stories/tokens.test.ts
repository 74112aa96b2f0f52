import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, type Person, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld(
  { after },
  {
    settings: {
      // Early enough that the second announcement comes before the first token expires.
      LUCKY_CONNECT_TOKEN_EXPIRING_MS: "600000",
      // Connect closes a silent device only after ten minutes, so that time can jump in large
      // steps.
      LUCKY_CONNECT_HEARTBEAT_INTERVAL_MS: "300000",
    },
  },
);
const { clock } = world;
const everyone = await people(world, "ana", "ben", "cara", "dan");
const [ana, ben, cara, dan] = everyone as [Person, Person, Person, Person];
const MINUTE_MS = 60_000;

/** Moves the clock forward in steps, with a heartbeat of each device after each step. */
async function live(ms: number, ...devices: RawDevice[]): Promise<void> {
  for (let remainingMs = ms; remainingMs > 0; remainingMs -= 200_000) {
    await clock.advance(Math.min(remainingMs, 200_000));
    await Promise.all(devices.map((device) => device.roundTrip()));
  }
}

test("the end of a token is announced before its 15 minutes are over, then ends the session", {
  timeout: TIMEOUT,
}, async () => {
  const { accessToken, accessTokenExpiresAtMs } = await ana.login();
  const leftMs = () => Number(accessTokenExpiresAtMs) - clock.now();
  assert.ok(Math.abs(leftMs() - 15 * MINUTE_MS) < 10_000, `${leftMs()}`);
  const device = await RawDevice.hello(world.url, accessToken);
  await live(leftMs() - 11 * MINUTE_MS, device);
  assert.equal(device.seen("tokenExpiring").length, 0);
  await live(2 * MINUTE_MS, device);
  assert.equal((await device.next("tokenExpiring")).expiresAtMs, accessTokenExpiresAtMs);
  await live(leftMs() - 30_000, device);
  await clock.advance(31_000);
  assert.equal((await device.closed).code, CloseCode.TOKEN_EXPIRED);
});

test("a session with a renewed token continues without a reconnect", {
  timeout: TIMEOUT,
}, async (t) => {
  const tokens = await cara.login();
  const device = await RawDevice.hello(world.url, tokens.accessToken);
  const silent = await RawDevice.hello(world.url, (await cara.login()).accessToken);
  t.after(() => device.close());
  await live(6 * MINUTE_MS, device, silent);
  const { expiresAtMs } = await device.next("tokenExpiring");
  assert.equal(expiresAtMs, tokens.accessTokenExpiresAtMs);
  const { refreshToken } = tokens;
  const fresh = (await clientOf(world.url, AuthService).refresh({ refreshToken })).tokens!;
  device.send({ case: "renew", value: { accessToken: fresh.accessToken } });
  // The session gets an announcement for the second token, because it is the session's token now.
  await live(6 * MINUTE_MS, device, silent);
  const again = await device.next("tokenExpiring");
  assert.equal(again.expiresAtMs, fresh.accessTokenExpiresAtMs);
  await clock.advance(4 * MINUTE_MS);
  assert.equal((await silent.closed).code, CloseCode.TOKEN_EXPIRED);
  await device.roundTrip();
});

test("an access token expires after 15 minutes, a refresh token after 30 days", {
  timeout: TIMEOUT,
}, async () => {
  const { accessToken, accessTokenExpiresAtMs, refreshToken } = await ben.login();
  const forgotten = await ben.login();
  const profile = () => clientOf(world.url, UserService, accessToken).getMyProfile({});
  const refused = (call: Promise<unknown>, reason: ErrorReason) =>
    assert.rejects(call, (error) => {
      assert.equal(ErrorReason[reasonOf(error)], ErrorReason[reason]);
      return true;
    });
  await clock.advance(Number(accessTokenExpiresAtMs) - 20_000 - clock.now());
  await profile();
  await clock.advance(21_000);
  await refused(profile(), ErrorReason.TOKEN_EXPIRED);
  const device = await RawDevice.open(world.url);
  device.send({ case: "hello", value: { accessToken } });
  assert.equal((await device.closed).code, CloseCode.TOKEN_EXPIRED);

  const auth = clientOf(world.url, AuthService);
  const days = 86_400_000;
  await clock.advance(29 * days);
  const next = (await auth.refresh({ refreshToken })).tokens!;
  await clock.advance(1 * days);
  // The use of one token gave its successor another 30 days; the other token was not used.
  const { tokens } = await auth.refresh({ refreshToken: next.refreshToken });
  await clientOf(world.url, UserService, tokens!.accessToken).getMyProfile({});
  const late = auth.refresh({ refreshToken: forgotten.refreshToken });
  await refused(late, ErrorReason.REFRESH_TOKEN_INVALID);
});

test("a client keeps its session by renewing its tokens", { timeout: TIMEOUT }, async (t) => {
  const { client } = await dan.clientDevice({ clock });
  t.after(() => dan.closeDevices());
  await client.connect();
  const states: string[] = [];
  client.on("state", ({ kind }) => states.push(kind));
  const witness = await RawDevice.hello(world.url, (await dan.login()).accessToken);
  // The server announces the end of the second token too, so it knows that token.
  for (let n = 0; n < 2; n++) {
    const before = client.tokens!;
    const renewed = client.next("tokens");
    await live(6 * MINUTE_MS, witness);
    await renewed;
    assert.notEqual(client.tokens!.refreshToken, before.refreshToken);
  }
  await clock.advance(4 * MINUTE_MS);
  // The witness's token is younger than the client's first token.
  assert.equal((await witness.closed).code, CloseCode.TOKEN_EXPIRED);
  await client.callOverSocket(UserService.method.getMyProfile, {});
  assert.deepEqual(states, []);
});
