import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

/** Addresses that accept sockets: the gateway and each connect instance. */
const addresses = () => [world.url, ...world.connects];

async function call(accessToken: string): Promise<ErrorReason | undefined> {
  const users = clientOf(world.url, UserService, accessToken);
  try {
    await users.getMyProfile({});
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

async function openingCode(address: string, accessToken: string): Promise<number> {
  const device = await RawDevice.open(address);
  device.send({ case: "hello", value: { accessToken } });
  return (await device.closed).code;
}

test("a logout closes the login's socket within a second, on every instance", {
  timeout: TIMEOUT,
}, async () => {
  for (const address of addresses()) {
    const [ana] = await people(world, "ana");
    const { accessToken } = await ana!.login();
    const device = await RawDevice.hello(address, accessToken);
    const sinceMs = performance.now();
    await clientOf(world.url, AuthService, accessToken).logout({});
    assert.equal((await device.closed).code, CloseCode.TOKEN_REVOKED);
    const tookMs = performance.now() - sinceMs;
    assert.ok(tookMs < 1_000, `${address}: ${Math.round(tookMs)} ms`);
  }
});

test("gateway and connect refuse the token of an ended login within a second", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  assert.equal(await call(accessToken), undefined);
  await clientOf(world.url, AuthService, accessToken).logout({});
  const sinceMs = performance.now();
  while ((await call(accessToken)) !== ErrorReason.TOKEN_REVOKED)
    assert.ok(performance.now() - sinceMs < 1_000, "the gateway has not learned of it");
  for (const address of world.connects)
    assert.equal(await openingCode(address, accessToken), CloseCode.TOKEN_REVOKED);
});

test("a revocation that the bus lost is found by polling", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  const device = await RawDevice.hello(world.connects[0]!, accessToken);
  // Revokes in the database alone, as if the notification of auth had been lost.
  await world.pool.query(
    "UPDATE auth.login SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL",
    [ana!.userId],
  );
  assert.equal((await device.closed).code, CloseCode.TOKEN_REVOKED);
});

test("withdrawn keys invalidate their tokens, and devices continue with their refresh tokens", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => ana!.closeDevices());
  const { accessToken, refreshToken } = await ana!.login();
  const phone = await ana!.clientDevice();
  const devices = await Promise.all(
    addresses().map(async (address) => {
      const [person] = await people(world, "person");
      return RawDevice.hello(address, (await person!.login()).accessToken);
    }),
  );
  await phone.client.connect();
  assert.equal(await call(accessToken), undefined);
  const sinceMs = performance.now();
  await world.pool.query("DELETE FROM auth.key WHERE purpose = 'access'");
  for (const device of devices) assert.equal((await device.closed).code, CloseCode.TOKEN_EXPIRED);
  const tookMs = performance.now() - sinceMs;
  assert.ok(tookMs < 5_000, `${Math.round(tookMs)} ms`);
  assert.equal(await call(accessToken), ErrorReason.TOKEN_EXPIRED);
  for (const address of world.connects)
    assert.equal(await openingCode(address, accessToken), CloseCode.TOKEN_EXPIRED);

  const { tokens } = await clientOf(world.url, AuthService).refresh({ refreshToken });
  assert.equal(await call(tokens!.accessToken), undefined);
  for (const address of addresses()) {
    const device = await RawDevice.hello(address, tokens!.accessToken);
    await device.roundTrip();
    await device.close();
  }
  await phone.client.send({ userId: ben!.userId }, "still here");
});
