import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { AuthService, DeviceClass, QrLoginState } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import {
  completeLogin,
  confirm,
  disable,
  guessed,
  newDevice,
  type QrScene,
  qrScene,
  refuse,
  refused,
  scan,
} from "../attack/qr-scene.ts";
import { clientOf } from "../world/people.ts";
import { anonymousAuth, QrScreen } from "../world/qr-screen.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });
const { WAITING, SCANNED, CONFIRMED, REFUSED, EXPIRED } = QrLoginState;

/** Attacks by name: each makes its calls and asserts their results. */
const attacks: Record<string, (scene: QrScene) => Promise<void>> = {
  "another user cannot confirm a code that Ana scanned": async ({ phone, thief, screen, id }) => {
    await scan(phone, id);
    await refused(confirm(thief, id), "QR_LOGIN_FOREIGN");
    assert.equal((await screen.poll()).state, SCANNED);
  },
  "another user cannot refuse a code that Ana scanned": async ({ phone, thief, screen, id }) => {
    await scan(phone, id);
    await refused(refuse(thief, id), "QR_LOGIN_FOREIGN");
    assert.equal((await screen.poll()).state, SCANNED);
  },
  "another user cannot scan a code that Ana scanned": async ({ ana, phone, thief, screen, id }) => {
    await scan(phone, id);
    await refused(scan(thief, id), "QR_LOGIN_FOREIGN");
    assert.equal((await screen.poll()).scannedBy?.userId, ana.userId);
  },
  "Ana's second phone cannot confirm a code that her first phone scanned": async ({
    ana,
    phone,
    id,
  }) => {
    const other = await newDevice(world, ana);
    await scan(phone, id);
    await refused(confirm(other.auth, id), "QR_LOGIN_FOREIGN");
    await refused(scan(other.auth, id), "QR_LOGIN_FOREIGN");
  },
  "a confirmation needs a scan first": async ({ phone, screen, id }) => {
    await refused(confirm(phone, id), "QR_LOGIN_STEP");
    assert.equal((await screen.poll()).state, WAITING);
  },
  "a refusal needs a scan first": async ({ thief, screen, id }) => {
    await refused(refuse(thief, id), "QR_LOGIN_STEP");
    assert.equal((await screen.poll()).state, WAITING);
  },
  "only one of two simultaneous scans succeeds": async ({ phone, thief, id }) => {
    const both = await Promise.allSettled([scan(phone, id), scan(thief, id)]);
    const lost = both.filter((one) => one.status === "rejected");
    assert.equal(lost.length, 1);
    assert.equal(reasonOf(lost[0]?.reason), ErrorReason.QR_LOGIN_FOREIGN);
  },
  "a guessed id finds nothing": async ({ thief, screen }) => {
    const id = guessed(16);
    await refused(scan(thief, id), "QR_LOGIN_NOT_FOUND");
    await refused(confirm(thief, id), "QR_LOGIN_NOT_FOUND");
    await refused(refuse(thief, id), "QR_LOGIN_NOT_FOUND");
    const credentials = { ...screen.credentials, qrLoginId: id };
    await refused(screen.auth.getQrLogin(credentials), "QR_LOGIN_NOT_FOUND");
  },
  "a repeated confirmation changes nothing, also after the tokens were fetched": async (the) => {
    await scan(the.phone, the.id);
    await confirm(the.phone, the.id);
    await confirm(the.phone, the.id);
    await the.screen.poll();
    await confirm(the.phone, the.id);
    await refused(the.screen.poll(), "QR_LOGIN_STEP");
    await refused(refuse(the.phone, the.id), "QR_LOGIN_STEP");
    await refused(confirm(the.thief, the.id), "QR_LOGIN_FOREIGN");
  },
  "a code cannot be scanned after its tokens were fetched": async (the) => {
    await completeLogin(the);
    await refused(scan(the.phone, the.id), "QR_LOGIN_STEP");
    await refused(scan(the.thief, the.id), "QR_LOGIN_FOREIGN");
  },
  "a refused device cannot be confirmed afterwards": async ({ phone, thief, screen, id }) => {
    await scan(phone, id);
    await refuse(phone, id);
    await refuse(phone, id);
    await refused(confirm(phone, id), "QR_LOGIN_STEP");
    await refused(scan(thief, id), "QR_LOGIN_FOREIGN");
    const { state, tokens } = await screen.poll();
    assert.deepEqual({ state, tokens }, { state: REFUSED, tokens: undefined });
  },
  "only one of a simultaneous confirmation and refusal succeeds": async ({ phone, screen, id }) => {
    await scan(phone, id);
    const both = await Promise.allSettled([confirm(phone, id), refuse(phone, id)]);
    const lost = both.filter((one) => one.status === "rejected");
    assert.equal(lost.length, 1);
    assert.equal(reasonOf(lost[0]?.reason), ErrorReason.QR_LOGIN_STEP);
    const { state, tokens } = await screen.poll();
    const confirmed = both[0].status === "fulfilled";
    assert.equal(state, confirmed ? CONFIRMED : REFUSED);
    assert.equal(tokens !== undefined, confirmed);
  },
  "a desktop, a browser or a bot cannot act as the phone": async ({ ana, phone, id }) => {
    for (const deviceClass of [DeviceClass.DESKTOP, DeviceClass.WEB, DeviceClass.BOT]) {
      const { auth } = await newDevice(world, ana, deviceClass);
      await refused(scan(auth, id), "PHONE_DEVICE_REQUIRED");
      await refused(confirm(auth, id), "PHONE_DEVICE_REQUIRED");
      await refused(refuse(auth, id), "PHONE_DEVICE_REQUIRED");
    }
    await scan(phone, id);
  },
  "scan, confirm and refuse need an access token": async ({ id }) => {
    const auth = anonymousAuth(world.url);
    for (const attempt of [scan, confirm, refuse])
      await refused(attempt(auth, id), "TOKEN_INVALID");
  },
  "the screen cannot confirm itself with its secret": async ({ screen, id }) => {
    const auth = clientOf(world.url, AuthService, screen.credentials.secret);
    for (const attempt of [scan, confirm]) await refused(attempt(auth, id), "TOKEN_INVALID");
  },
  "a bot account cannot scan, confirm or refuse": async ({ mallory, id }) => {
    await world.pool.query("UPDATE auth.account SET role = 'bot' WHERE user_id = $1", [
      mallory.userId,
    ]);
    const bot = await newDevice(world, mallory);
    for (const attempt of [scan, confirm, refuse])
      await refused(attempt(bot.auth, id), "PERMISSION_DENIED");
  },
  "a phone cannot scan the code of a screen with its own device id": async ({ ana }) => {
    const phone = await newDevice(world, ana);
    const screen = await QrScreen.show(world, { deviceId: phone.deviceId });
    await refused(scan(phone.auth, screen.qrLoginId), "QR_LOGIN_STEP");
    // The phone's own login is still valid.
    await scan(phone.auth, (await QrScreen.show(world)).qrLoginId);
  },
  "a logged-out phone cannot confirm": async ({ ana, screen, id }) => {
    const phone = await newDevice(world, ana);
    await scan(phone.auth, id);
    await phone.auth.logout({});
    await refused(confirm(phone.auth, id), "TOKEN_REVOKED");
    assert.equal((await screen.poll()).state, SCANNED);
  },
  "a disabled account cannot confirm": async ({ ana, phone, id }) => {
    await scan(phone, id);
    await disable(world, ana);
    await refused(confirm(phone, id), "TOKEN_REVOKED");
  },
  "malformed ids and secrets are refused": async ({ phone, screen }) => {
    for (const bad of ["", "a", "' OR 1=1 --------------", "é".repeat(22), "A".repeat(2_000)]) {
      await refused(scan(phone, bad), "INVALID_ARGUMENT");
      await refused(confirm(phone, bad), "INVALID_ARGUMENT");
      const { credentials, auth } = screen;
      await refused(auth.getQrLogin({ ...credentials, secret: bad }), "INVALID_ARGUMENT");
      const watch = auth.watchQrLogin({ ...credentials, qrLoginId: bad })[Symbol.asyncIterator]();
      await refused(watch.next(), "INVALID_ARGUMENT");
    }
  },
  "a device name with control characters, or a too long one, is refused": async () => {
    await refused(QrScreen.show(world, { deviceName: "your phone\u0000" }), "INVALID_ARGUMENT");
    await refused(QrScreen.show(world, { deviceName: "a\nb" }), "INVALID_ARGUMENT");
    await refused(QrScreen.show(world, { deviceName: "x".repeat(65) }), "INVALID_ARGUMENT");
  },
  "a device name with bidirectional overrides is refused": async () => {
    for (const deviceName of ["\u202eenohp ruoy", "your \u2066phone", "\u2069 at home"])
      await refused(QrScreen.show(world, { deviceName }), "INVALID_ARGUMENT");
    // Right-to-left marks are allowed: right-to-left scripts need them.
    await QrScreen.show(world, { deviceName: "هاتف\u200f (2)" });
  },
  "a device cannot forge its network address by headers": async ({ phone }) => {
    const headers = { "lucky-peer": "203.0.113.9", "x-forwarded-for": "203.0.113.9" };
    const device = { deviceId: randomUUID(), deviceClass: DeviceClass.DESKTOP };
    const { qrLoginId } = await anonymousAuth(world.url).createQrLogin({ device }, { headers });
    assert.equal((await scan(phone, qrLoginId)).coarseAddress, "127.0.0.0/24");
  },
};

for (const [name, attack] of Object.entries(attacks)) {
  test(`QR login: ${name}`, { timeout: TIMEOUT }, async () => attack(await qrScene(world)));
}

test("QR login: scan, confirmation and polls are refused after expiry", {
  timeout: TIMEOUT,
}, async () => {
  const { clock } = world;
  const { phone, screen: unscanned } = await qrScene(world);
  const [seen, answered] = await Promise.all([QrScreen.show(world), QrScreen.show(world)]);
  const watch = unscanned.watch();
  assert.equal((await watch.next())?.state, WAITING);
  await scan(phone, seen.qrLoginId);
  // A QR login expires after two minutes; the third one is confirmed after one and a half.
  await clock.advance(90_000);
  await scan(phone, answered.qrLoginId);
  await confirm(phone, answered.qrLoginId);
  assert.equal((await seen.poll()).state, SCANNED);

  const end = watch.next();
  await clock.advance(30_000);
  assert.equal((await end)?.state, EXPIRED);
  assert.equal(await watch.next(), undefined);
  await refused(scan(phone, unscanned.qrLoginId), "QR_LOGIN_EXPIRED");
  await refused(confirm(phone, seen.qrLoginId), "QR_LOGIN_EXPIRED");
  await refused(refuse(phone, seen.qrLoginId), "QR_LOGIN_EXPIRED");
  assert.equal((await seen.poll()).state, EXPIRED);
  const { state, tokens } = await answered.poll();
  assert.deepEqual({ state, tokens }, { state: EXPIRED, tokens: undefined });

  // After a confirmation near the expiry the tokens can be fetched for 15 seconds.
  const [fetched, late] = await Promise.all([QrScreen.show(world), QrScreen.show(world)]);
  await clock.advance(112_000);
  for (const { qrLoginId } of [fetched, late]) {
    await scan(phone, qrLoginId);
    await confirm(phone, qrLoginId);
  }
  await clock.advance(9_000);
  assert.equal((await fetched.poll()).state, CONFIRMED);
  await clock.advance(6_000);
  assert.equal((await late.poll()).state, EXPIRED);
});
