import assert from "node:assert/strict";
import { after, test } from "node:test";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { CloseCode, EndpointService, ReconnectAction } from "#gen/lucky/frame/v1/frame_pb.js";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const settings = {
  LUCKY_CONNECT_MIN_CLIENT_VERSIONS: "acme-ios=2.4.0,acme-android=2.1",
  LUCKY_CONNECT_CLIENT_TOO_OLD_TEXT: "Please update, dear Zoë.",
  LUCKY_CONNECT_UPGRADE_URL: "https://acme.example/update?from=old",
};
const world = await startWorld({ after }, { settings });

/** Addresses of two connect instances; the same one twice if only one runs. */
const twoAddresses = () => [world.connects[0]!, world.connects.at(-1)!] as const;

test("a second phone replaces the first one across instances", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const [here, there] = twoAddresses();
  const first = await ana!.login({ deviceClass: DeviceClass.MOBILE });
  const second = await ana!.login({ deviceClass: DeviceClass.MOBILE });
  const old = await RawDevice.hello(here, first.accessToken);
  const desktop = await RawDevice.hello(
    here,
    (await ana!.login({ deviceClass: DeviceClass.DESKTOP })).accessToken,
  );
  const fresh = await RawDevice.hello(there, second.accessToken);
  t.after(() => Promise.all([fresh.close(), desktop.close()]));
  assert.equal((await old.next("kick")).code, CloseCode.REPLACED);
  assert.equal((await old.closed).code, CloseCode.REPLACED);
  // The new phone and the device of another class stay connected.
  await Promise.all([fresh.roundTrip(), desktop.roundTrip()]);
});

test("a reconnect of a device on another instance closes its old session", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const [here, there] = twoAddresses();
  const { accessToken } = await ana!.login({ deviceId: "one-device" });
  const old = await RawDevice.hello(here, accessToken);
  const fresh = await RawDevice.hello(there, accessToken);
  t.after(() => fresh.close());
  assert.equal((await old.closed).code, CloseCode.REPLACED);
  await fresh.roundTrip();
});

test("a late close of an old session does not unregister the new one (race)", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => ana!.closeDevices());
  const [here, there] = twoAddresses();
  const { accessToken } = await ben!.login({ deviceId: "roaming" });
  const a = await ana!.clientDevice();
  await a.client.connect();
  const { conversationId } = await a.client.send({ userId: ben!.userId }, "first");
  for (let round = 0; round < 5; round++) {
    const old = await RawDevice.hello(here, accessToken);
    const fresh = await RawDevice.hello(there, accessToken);
    // Race: server and device close the old session at about the same time.
    await old.close();
    const { sequence } = await a.client.send({ conversationId }, `round ${round}`);
    await fresh.next("deliver", (d) => d.entries.some((e) => e.sequence === sequence));
    await fresh.close();
  }
});

test("the gateway routes a socket by its hint, and refuses unknown paths", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  const endpoints = clientOf(world.url, EndpointService, accessToken);
  const { url } = await endpoints.resolveEndpoint({});
  assert.ok(!url.includes(accessToken), "no token in a URL");
  const device = await RawDevice.open(world.url, url);
  t.after(() => device.close());
  device.send({ case: "hello", value: { accessToken } });
  const welcome = await device.next("welcome");
  assert.equal(welcome.userId, ana!.userId);
  await assert.rejects(RawDevice.open(world.url, "/elsewhere"));
});

test("a client below the operator's minimum version gets its text and address instead of a session", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  const greet = async (clientName: string, clientVersion: string) => {
    const device = await RawDevice.open(world.url);
    device.send({ case: "hello", value: { accessToken, clientName, clientVersion } });
    return device;
  };
  const old = await greet("acme-ios", "2.3.17");
  const { code, action, text, upgradeUrl } = await old.next("kick");
  assert.deepEqual([code, action], [CloseCode.CLIENT_TOO_OLD, ReconnectAction.STAY_CLOSED]);
  assert.equal(text, settings.LUCKY_CONNECT_CLIENT_TOO_OLD_TEXT);
  assert.equal(upgradeUrl, settings.LUCKY_CONNECT_UPGRADE_URL);
  assert.equal((await old.closed).code, CloseCode.CLIENT_TOO_OLD);
  const updated = await greet("acme-ios", "2.10.0");
  t.after(() => updated.close());
  await updated.next("welcome");
});

// The last test: it stops the world.
test("when the whole system stops, a device behind the gateway gets Move, then the close code MOVE", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const device = await RawDevice.hello(world.url, (await ana!.login()).accessToken);
  const stopped = world.stop();
  await device.next("move");
  assert.equal((await device.closed).code, CloseCode.MOVE);
  await stopped;
});
