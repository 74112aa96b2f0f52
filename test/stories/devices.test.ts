import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import { AuthService, DeviceClass, DeviceExcess, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode, LoginMethod, SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, proofBy } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld(
  {
    after,
  },
  {
    settings: {
      LUCKY_CONNECT_DEVICE_POLICY_MS: "100",
      LUCKY_CONNECT_LAST_SEEN_LINGER_MS: "0",
    },
  },
);
const { MOBILE, DESKTOP, WEB } = DeviceClass;

const devicesOf = (accessToken: string) => clientOf(world.url, DeviceService, accessToken);

test("the device list shows each device's class, name and address, and marks the caller's", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  await ana!.login({ deviceId: "phone", deviceClass: MOBILE });
  const { accessToken } = await ana!.login({ deviceId: "laptop", deviceClass: DESKTOP });
  const asLaptop = devicesOf(accessToken);
  await asLaptop.renameDevice({ deviceId: "phone", deviceName: "Ana's phone" });
  const { devices } = await asLaptop.listDevices({});
  const shown = devices.map(({ device, current, coarseAddress }) => [
    device!.deviceId,
    device!.deviceClass,
    device!.deviceName,
    current,
    coarseAddress,
  ]);
  assert.deepEqual(shown, [
    ["laptop", DESKTOP, "", true, "127.0.0.0/24"],
    ["phone", MOBILE, "Ana's phone", false, "127.0.0.0/24"],
  ]);
});

test("revoking a device ends its socket and its refresh token, and a stranger cannot revoke it", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, eve] = await people(world, "ana", "eve");
  const lost = await ana!.login({ deviceId: "lost", deviceClass: MOBILE });
  const socket = await RawDevice.hello(world.connects.at(-1)!, lost.accessToken);
  const revokeLost = (tokens: Tokens) =>
    devicesOf(tokens.accessToken).revokeDevice({ deviceId: "lost", proof: proofBy(tokens) });
  const notFound = (e: unknown) => reasonOf(e) === ErrorReason.DEVICE_NOT_FOUND;
  await assert.rejects(revokeLost(await eve!.login()), notFound);
  await socket.roundTrip();

  const anas = await ana!.login();
  await revokeLost(anas);
  assert.equal((await socket.closed).code, CloseCode.TOKEN_REVOKED);
  const { refreshToken } = lost;
  await assert.rejects(
    clientOf(world.url, AuthService).refresh({ refreshToken }),
    (e) => reasonOf(e) === ErrorReason.REFRESH_TOKEN_INVALID,
  );
  // A repeat after a lost answer is harmless.
  await revokeLost(anas);
  const unknown = { deviceId: "never", proof: proofBy(anas) };
  await assert.rejects(devicesOf(anas.accessToken).revokeDevice(unknown), notFound);
});

test("last-seen moves when a session opens and when it ends", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const asLaptop = devicesOf((await ana!.login({ deviceId: "laptop" })).accessToken);
  const { accessToken } = await ana!.login({ deviceId: "phone" });
  const seenMs = async () => {
    const { devices } = await asLaptop.listDevices({});
    return Number(devices.find(({ device }) => device!.deviceId === "phone")!.lastSeenAtMs);
  };
  const seenAfter = async (ms: number) => {
    for (;;) {
      const now = await seenMs();
      if (now > ms) return now;
    }
  };
  const atLogin = await seenMs();
  const session = await RawDevice.hello(world.connects.at(-1)!, accessToken);
  t.after(() => session.close());
  const atOpening = await seenAfter(atLogin);
  await session.roundTrip();
  await session.close();
  await seenAfter(atOpening);
});

test("revokeOtherDevices ends the sessions on every instance and keeps the caller's", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const others = await Promise.all(
    [world.url, ...world.connects, world.url].slice(0, 3).map(async (address) => {
      const { accessToken } = await ana!.login();
      return RawDevice.hello(address, accessToken);
    }),
  );
  const tokens = await ana!.login({ deviceClass: MOBILE });
  const { accessToken } = tokens;
  const own = await RawDevice.hello(world.url, accessToken);
  t.after(() => own.close());
  const { revoked } = await devicesOf(accessToken).revokeOtherDevices({
    proof: proofBy(tokens),
  });
  assert.equal(revoked, others.length);
  for (const device of others) assert.equal((await device.closed).code, CloseCode.TOKEN_REVOKED);
  await own.roundTrip();
});

test("a login tells the online devices; an offline device lists the notices after it reconnects", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const laptop = await ana!.login({ deviceId: "laptop", deviceClass: DESKTOP });
  const online = await RawDevice.hello(world.url, laptop.accessToken);
  t.after(() => online.close());
  const thief = await ana!.login({ deviceId: "thief" });
  const notice = await online.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.DEVICE_LOGGED_IN);
  assert.equal(notice.deviceId, "thief");
  assert.equal(notice.loginMethod, LoginMethod.PASSWORD);
  assert.equal(notice.coarseAddress, "127.0.0.0/24");

  await online.close();
  const proof = proofBy(thief);
  await ana!.login({ deviceId: "tablet" });
  await devicesOf(thief.accessToken).revokeDevice({ deviceId: "tablet", proof });
  const asLaptop = devicesOf(laptop.accessToken);
  const missed = await asLaptop.listSecurityNotices({});
  assert.deepEqual(
    missed.notices.map(({ kind, deviceId }) => [SecurityNoticeKind[kind], deviceId]),
    [
      ["DEVICE_REVOKED", "tablet"],
      ["DEVICE_LOGGED_IN", "tablet"],
      ["DEVICE_LOGGED_IN", "thief"],
      ["DEVICE_LOGGED_IN", "laptop"],
    ],
  );
  assert.deepEqual(missed.notices[2], notice);
});

test("a device policy changed at run time makes connect refuse a further device", {
  timeout: TIMEOUT,
}, async (t) => {
  const [root, ana] = await people(world, "root", "ana");
  await world.pool.query("UPDATE auth.account SET role = 'admin' WHERE user_id = $1", [
    root!.userId,
  ]);
  const admin = clientOf(world.url, AdminService, (await root!.login()).accessToken);
  const before = (await admin.getDevicePolicy({})).rules;
  const rules = before.map((rule) =>
    rule.deviceClass === WEB
      ? { deviceClass: WEB, maxDevices: 1, excess: DeviceExcess.REFUSE_NEW }
      : rule,
  );
  await admin.setDevicePolicy({ rules, reason: "a story" });
  t.after(() => admin.setDevicePolicy({ rules: before, reason: "the story is over" }));

  const [here, there] = [world.connects[0]!, world.connects.at(-1)!];
  const first = await RawDevice.hello(here, (await ana!.login()).accessToken);
  t.after(() => first.close());
  // Until that instance has fetched the new policy, a second device replaces the first one.
  const codes = [];
  let holder = first;
  for (;;) {
    const device = await RawDevice.open(there);
    device.send({ case: "hello", value: { accessToken: (await ana!.login()).accessToken } });
    const code = await Promise.race([
      device.closed.then(({ code }) => code),
      device.next("welcome").then(
        () => undefined,
        () => device.closed.then(({ code }) => code),
      ),
    ]);
    codes.push(code);
    if (code !== undefined) break;
    holder = device;
  }
  assert.equal(codes.at(-1), CloseCode.DEVICE_LIMIT_REACHED);
  await holder.roundTrip();
  await holder.close();
});
