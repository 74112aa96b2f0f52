import assert from "node:assert/strict";
import { test } from "node:test";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { RawDevice } from "../../../test/devices/raw-device.ts";

/** A harness with a clock that the test moves, and a device whose token is valid for 15 minutes. */
async function setUp(t: Parameters<typeof startConnectHarness>[0]) {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock, config: { heartbeatIntervalMs: 300_000 } });
  const device = await RawDevice.hello(harness.address, await token(harness, clock, 900));
  return { clock, harness, device, endMs: clock.now() + 900_000 };
}

/** Moves the clock while the device sends its heartbeats. */
async function live(device: RawDevice, clock: ManualClock, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 250_000) {
    clock.advance(Math.min(left, 250_000));
    await device.roundTrip();
  }
}

const token = (harness: ConnectHarness, clock: ManualClock, seconds: number, over = {}) =>
  harness.issuer.token({
    sub: "1",
    did: "d1",
    dcl: DeviceClass.WEB,
    exp: Math.floor(clock.now() / 1_000) + seconds,
    ...over,
  });

test("the expiry of a token is announced once; when it has expired the session is closed", async (t) => {
  const { clock, device, endMs } = await setUp(t);
  await live(device, clock, 839_000);
  assert.equal(device.seen("tokenExpiring").length, 0);
  clock.advance(1_000);
  const { expiresAtMs } = await device.next("tokenExpiring");
  assert.equal(Number(expiresAtMs), endMs);
  clock.advance(59_000);
  await device.roundTrip();
  assert.equal(device.seen("tokenExpiring").length, 0);
  clock.advance(1_000);
  assert.equal((await device.next("kick")).code, CloseCode.TOKEN_EXPIRED);
  assert.equal((await device.closed).code, CloseCode.TOKEN_EXPIRED);
});

test("a renewed session stays open, and the expiry of its new token is announced too", async (t) => {
  const { clock, harness, device } = await setUp(t);
  await live(device, clock, 850_000);
  await device.next("tokenExpiring");
  const accessToken = await token(harness, clock, 900);
  // Renew has no answer. With a cached token it completes before the next heartbeat.
  await harness.issuer.verifier.verify(accessToken);
  device.send({ case: "renew", value: { accessToken } });
  await device.roundTrip();
  await live(device, clock, 100_000);
  assert.equal(device.seen("tokenExpiring").length, 0);
  await live(device, clock, 740_000);
  await device.next("tokenExpiring");
  await device.close();
});

test("when the key of a token is withdrawn, the session ends as if the token had expired", async (t) => {
  const { clock, harness, device } = await setUp(t);
  await harness.issuer.rotate();
  const other = await RawDevice.hello(
    harness.address,
    await token(harness, clock, 900, { did: "d2", sid: "l2" }),
  );
  harness.issuer.withdrawn.add("k1");
  clock.advance(1_000);
  assert.equal((await device.closed).code, CloseCode.TOKEN_EXPIRED);
  await other.roundTrip();
  await other.close();
});

test("a session is not renewed by the token of another user or device, or by an expired token", async (t) => {
  for (const [over, code] of [
    [{ sub: "2" }, CloseCode.TOKEN_INVALID],
    [{ did: "d2" }, CloseCode.TOKEN_INVALID],
    [{ dcl: DeviceClass.MOBILE }, CloseCode.TOKEN_INVALID],
    [{ exp: 1 }, CloseCode.TOKEN_EXPIRED],
  ] as const) {
    const { clock, harness, device } = await setUp(t);
    const accessToken = await token(harness, clock, 900, over);
    device.send({ case: "renew", value: { accessToken } });
    assert.equal((await device.closed).code, code, JSON.stringify(over));
  }
});

test("a step of the time of day ends no session whose device renews its token", async (t) => {
  const { clock, harness, device } = await setUp(t);
  await live(device, clock, 10_000);
  clock.step(3_600_000);
  await live(device, clock, 1_000);
  await device.next("tokenExpiring");
  await live(device, clock, 58_000);
  const accessToken = await token(harness, clock, 900);
  await harness.issuer.verifier.verify(accessToken);
  device.send({ case: "renew", value: { accessToken } });
  await device.roundTrip();
  clock.step(-3_600_000);
  await live(device, clock, 500_000);
  assert.equal(device.seen("tokenExpiring").length, 0);
  await device.close();
});

test("after a step of the time of day, an expired token ends its session the notice time later", async (t) => {
  const { clock, device } = await setUp(t);
  await live(device, clock, 10_000);
  clock.step(3_600_000);
  await live(device, clock, 60_000);
  await device.next("tokenExpiring");
  clock.advance(1_000);
  assert.equal((await device.closed).code, CloseCode.TOKEN_EXPIRED);
});

test("a token that was about to expire gets no more time by a step of the time of day", async (t) => {
  const { clock, device } = await setUp(t);
  await live(device, clock, 895_000);
  clock.step(3_600_000);
  await live(device, clock, 4_000);
  clock.advance(1_000);
  assert.equal((await device.closed).code, CloseCode.TOKEN_EXPIRED);
});

test("a step of the time of day is no silence, and makes no time-out longer", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const device = await harness.device("1");
  const mute = await RawDevice.open(harness.address);
  for (const stepMs of [55_000, 600_000, -7_200_000]) {
    clock.step(stepMs);
    clock.advance(1_000);
    await device.roundTrip();
  }
  // Time-outs do not become longer either.
  clock.advance(2_000);
  assert.equal((await mute.closed).code, CloseCode.HELLO_TIMEOUT);
  clock.advance(50_000);
  assert.equal((await device.closed).code, CloseCode.HEARTBEAT_TIMEOUT);
});
