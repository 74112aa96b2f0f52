import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { startAccessWorld } from "../attack/access-world.ts";
import { badTokens } from "../attack/bad-tokens.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";

const TIMEOUT = 120_000;
const { world, sign } = await startAccessWorld({ after });

test("a Hello with a bad token closes the socket with the token's reason", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const bad = await badTokens((await ana!.login()).accessToken, sign);
  for (const { what, token, reason } of bad) {
    const device = await RawDevice.open(world.url);
    device.send({ case: "hello", value: { accessToken: token ?? "" } });
    assert.equal((await device.closed).code, CloseCode[reason], what);
  }
});

test("a Renew with a bad token ends the session with the token's reason", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  const bad = await badTokens(accessToken, sign);
  for (const { what, token, reason } of bad) {
    const device = await RawDevice.hello(world.url, accessToken);
    device.send({ case: "renew", value: { accessToken: token ?? "" } });
    assert.equal((await device.closed).code, CloseCode[reason], what);
  }
});

test("the gateway refuses a token in the URL", { timeout: TIMEOUT }, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  await assert.rejects(RawDevice.open(world.url, `/ws?access_token=${accessToken}`));
});

test("a frame before Hello closes the socket", { timeout: TIMEOUT }, async () => {
  const device = await RawDevice.open(world.url);
  device.send({ case: "heartbeat", value: {} });
  assert.equal((await device.closed).code, CloseCode.PROTOCOL_ERROR);
});

test("a logout closes the socket and revokes both tokens", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken, refreshToken } = await ana!.login();
  const device = await RawDevice.hello(world.url, accessToken);
  await clientOf(world.url, AuthService, accessToken).logout({});
  assert.equal((await device.closed).code, CloseCode.TOKEN_REVOKED);
  const refresh = clientOf(world.url, AuthService).refresh({ refreshToken });
  await assert.rejects(refresh, (e) => reasonOf(e) === ErrorReason.REFRESH_TOKEN_INVALID);
  const again = await RawDevice.open(world.url);
  again.send({ case: "hello", value: { accessToken } });
  assert.equal((await again.closed).code, CloseCode.TOKEN_REVOKED);
});
