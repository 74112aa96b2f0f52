import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, QrLoginState } from "#gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { sealPassword } from "../../client/login/password.ts";
import {
  completeLogin,
  confirm,
  countLogins,
  disable,
  guessed,
  newDevice,
  type QrScene,
  qrScene,
  refused,
  scan,
} from "../attack/qr-scene.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, PASSWORD, proofBy } from "../world/people.ts";
import { QrScreen } from "../world/qr-screen.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });
const { REFUSED } = QrLoginState;

/** A token that differs in its first character. */
const altered = (token: string) => (token.startsWith("A") ? "B" : "A") + token.slice(1);

/** Attacks by name: each makes its calls and asserts their results. */
const attacks: Record<string, (scene: QrScene) => Promise<void>> = {
  "a photograph of the screen does not contain the secret": async (the) => {
    await scan(the.phone, the.id);
    await confirm(the.phone, the.id);
    const credentials = { ...the.screen.credentials, secret: guessed(32) };
    await refused(the.screen.auth.getQrLogin(credentials), "QR_LOGIN_NOT_FOUND");
    const watch = the.screen.auth.watchQrLogin(credentials)[Symbol.asyncIterator]();
    await refused(watch.next(), "QR_LOGIN_NOT_FOUND");
    assert.ok((await the.screen.poll()).tokens);
  },
  "a stolen secret does not work on another device": async (the) => {
    await scan(the.phone, the.id);
    await confirm(the.phone, the.id);
    const credentials = { ...the.screen.credentials, deviceId: "of-the-thief" };
    await refused(the.screen.auth.getQrLogin(credentials), "QR_LOGIN_NOT_FOUND");
    const watch = the.screen.auth.watchQrLogin(credentials)[Symbol.asyncIterator]();
    await refused(watch.next(), "QR_LOGIN_NOT_FOUND");
    assert.ok((await the.screen.poll()).tokens);
  },
  "the secret of one QR login does not open another": async ({ phone, screen, id }) => {
    const own = await QrScreen.show(world, { deviceId: screen.credentials.deviceId });
    await scan(phone, id);
    await confirm(phone, id);
    const mixed = { ...own.credentials, qrLoginId: id };
    await refused(own.auth.getQrLogin(mixed), "QR_LOGIN_NOT_FOUND");
  },
  "the error does not tell whether id, secret or device is wrong": async ({ screen }) => {
    const { credentials, auth } = screen;
    const texts = [
      { ...credentials, qrLoginId: guessed(16) },
      { ...credentials, secret: altered(credentials.secret) },
      { ...credentials, deviceId: "another" },
    ].map((wrong) => refused(auth.getQrLogin(wrong), "QR_LOGIN_NOT_FOUND"));
    assert.equal(new Set(await Promise.all(texts)).size, 1);
  },
  "the tokens cannot be fetched twice": async (the) => {
    await completeLogin(the);
    await refused(the.screen.poll(), "QR_LOGIN_STEP");
    await refused(the.screen.watch().next(), "QR_LOGIN_STEP");
    assert.equal(await countLogins(world, the.ana, the.screen.credentials.deviceId), 1);
  },
  "only one of ten simultaneous polls gets the tokens": async ({ ana, phone, screen, id }) => {
    await scan(phone, id);
    await confirm(phone, id);
    const all = await Promise.allSettled(Array.from({ length: 10 }, () => screen.poll()));
    const had = all.filter((one) => one.status === "fulfilled" && one.value.tokens);
    assert.equal(had.length, 1);
    assert.equal(await countLogins(world, ana, screen.credentials.deviceId), 1);
  },
  "a logout of the phone voids a confirmation whose tokens are not fetched yet": async ({
    ana,
    screen,
    id,
  }) => {
    const phone = await newDevice(world, ana);
    await scan(phone.auth, id);
    await confirm(phone.auth, id);
    await phone.auth.logout({});
    const { state, tokens } = await screen.poll();
    assert.deepEqual({ state, tokens }, { state: REFUSED, tokens: undefined });
    assert.equal(await countLogins(world, ana, screen.credentials.deviceId), 0);
  },
  "disabling the account voids a confirmation whose tokens are not fetched yet": async ({
    ana,
    phone,
    screen,
    id,
  }) => {
    await scan(phone, id);
    await confirm(phone, id);
    await disable(world, ana);
    const { state, tokens } = await screen.poll();
    assert.deepEqual({ state, tokens }, { state: REFUSED, tokens: undefined });
    assert.equal(await countLogins(world, ana, screen.credentials.deviceId), 0);
  },
  "the phone cannot fetch the tokens itself": async ({ phone, id, ana, screen }) => {
    await scan(phone, id);
    // The answer to the phone contains neither the secret nor tokens.
    assert.deepEqual(Object.keys(await confirm(phone, id)), ["$typeName"]);
    const credentials = {
      qrLoginId: id,
      secret: guessed(32),
      deviceId: screen.credentials.deviceId,
    };
    await refused(phone.getQrLogin(credentials), "QR_LOGIN_NOT_FOUND");
    assert.equal(await countLogins(world, ana, screen.credentials.deviceId), 0);
  },
  "a password change voids a confirmation whose tokens are not fetched yet": async (the) => {
    const { ana, screen, id } = the;
    const phone = (await newDevice(world, ana)).auth;
    await scan(phone, id);
    await confirm(phone, id);
    const key = await phone.getPublicKey({});
    const [oldPassword, newPassword] = await Promise.all(
      [PASSWORD, "tulip hatchet orbit"].map((text) => sealPassword(key, text)),
    );
    // Her phone stays logged in, but the login that it confirmed is voided.
    await phone.changePassword({ oldPassword, newPassword });
    assert.equal((await screen.poll()).state, REFUSED);
    assert.equal(await countLogins(world, ana, screen.credentials.deviceId), 0);
  },
  "revoking all other devices voids a confirmation whose tokens are not fetched yet": async ({
    ana,
    screen,
    id,
  }) => {
    const { auth: phone, accessToken } = await newDevice(world, ana);
    await scan(phone, id);
    await confirm(phone, id);
    const { proof } = phone;
    await clientOf(world.url, DeviceService, accessToken).revokeOtherDevices({ proof });
    assert.equal((await screen.poll()).state, REFUSED);
    assert.equal(await countLogins(world, ana, screen.credentials.deviceId), 0);
  },
  "a stolen access token of the phone does not become a login": async ({ ana, mallory }) => {
    const phone = await newDevice(world, ana);
    const { tokens: malloryTokens } = await newDevice(world, mallory);
    const stolen = clientOf(world.url, AuthService, phone.accessToken);
    const screen = await QrScreen.show(world);
    await scan(stolen, screen.qrLoginId);
    const { qrLoginId } = screen;
    await refused(stolen.confirmQrLogin({ qrLoginId }), "PROOF_REQUIRED");
    const foreign = stolen.confirmQrLogin({ qrLoginId, proof: proofBy(malloryTokens) });
    await refused(foreign, "REFRESH_TOKEN_INVALID");
    const guess = await sealPassword(await stolen.getPublicKey({}), "a guess");
    const wrong = { kind: { case: "password", value: guess } } as const;
    await refused(stolen.confirmQrLogin({ qrLoginId, proof: wrong }), "CREDENTIALS_INVALID");
    assert.equal((await screen.poll()).tokens, undefined);
    assert.equal(await countLogins(world, ana, screen.credentials.deviceId), 0);
    // The attempts have not logged Ana out.
    await phone.auth.refresh({ refreshToken: phone.tokens.refreshToken });
  },
  "a stolen access token does not log the user's other devices out": async ({ ana }) => {
    const [phone, laptop] = [await newDevice(world, ana), await newDevice(world, ana)];
    const stolen = clientOf(world.url, DeviceService, phone.accessToken);
    await refused(stolen.revokeOtherDevices({}), "PROOF_REQUIRED");
    const { deviceId } = laptop;
    await refused(stolen.revokeDevice({ deviceId }), "PROOF_REQUIRED");
    await laptop.auth.refresh({ refreshToken: laptop.tokens.refreshToken });
  },
  "a used refresh token proves nothing: its reuse ends the login": async ({ ana, screen, id }) => {
    const phone = await newDevice(world, ana);
    const refresh = async (refreshToken: string) =>
      (await phone.auth.refresh({ refreshToken })).tokens!.refreshToken;
    const last = await refresh(await refresh(phone.tokens.refreshToken));
    await scan(phone.auth, id);
    await refused(confirm(phone.auth, id), "REFRESH_TOKEN_INVALID");
    await refused(refresh(last), "REFRESH_TOKEN_INVALID");
    assert.equal((await screen.poll()).tokens, undefined);
  },
  "a login by QR code ends with the phone's, and cannot log the phone out": async (the) => {
    const phone = await newDevice(world, the.ana);
    const tokens = await completeLogin({ ...the, phone: phone.auth });
    const devices = clientOf(world.url, DeviceService, tokens.accessToken);
    const { deviceId } = phone;
    const proof = proofBy(tokens);
    await refused(devices.revokeOtherDevices({ proof }), "PROOF_REQUIRED");
    await refused(devices.revokeDevice({ deviceId, proof }), "PROOF_REQUIRED");
    const socket = await RawDevice.hello(world.connects.at(-1)!, tokens.accessToken);
    await phone.auth.logout({});
    assert.equal((await socket.closed).code, CloseCode.TOKEN_REVOKED);
    const { refreshToken } = tokens;
    await refused(the.screen.auth.refresh({ refreshToken }), "REFRESH_TOKEN_INVALID");
  },
  "only the password makes a login by QR code outlive the phone's": async (the) => {
    const phone = await newDevice(world, the.ana);
    const tokens = await completeLogin({ ...the, phone: phone.auth });
    const desk = clientOf(world.url, AuthService, tokens.accessToken);
    await refused(desk.keepQrLogin({}), "PROOF_REQUIRED");
    await refused(desk.keepQrLogin({ proof: proofBy(tokens) }), "PROOF_REQUIRED");
    const value = await sealPassword(await desk.getPublicKey({}), PASSWORD);
    await desk.keepQrLogin({ proof: { kind: { case: "password", value } } });
    await phone.auth.logout({});
    await desk.refresh({ refreshToken: tokens.refreshToken });
  },
};

for (const [name, attack] of Object.entries(attacks)) {
  test(`QR login: ${name}`, { timeout: TIMEOUT }, async () => attack(await qrScene(world)));
}
