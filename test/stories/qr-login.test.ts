import assert from "node:assert/strict";
import { after, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AuthService,
  ConfirmQrLoginRequestSchema,
  DeviceClass,
  QrLoginState,
  ScanQrLoginRequestSchema,
  ScanQrLoginResponseSchema,
  type Tokens,
} from "#gen/lucky/auth/v1/auth_pb.js";
import { LoginMethod, SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { LuckyClient } from "../../client/client.ts";
import { beginQrLogin } from "../../client/login/qr-login.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, PASSWORD, type Person, people, proofBy } from "../world/people.ts";
import { QrScreen } from "../world/qr-screen.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });
const { WAITING, SCANNED, CONFIRMED, REFUSED } = QrLoginState;

/** Logs in a phone of the person. */
async function phoneOf(person: Person) {
  const tokens = await person.login({ deviceClass: DeviceClass.MOBILE });
  const { accessToken } = tokens;
  const auth = clientOf(world.url, AuthService, accessToken);
  return { accessToken, auth, proof: proofBy(tokens) };
}

/**
 * Asserts that the access token is valid and belongs to the person; returns its user name and
 * device.
 */
async function whose({ accessToken }: Pick<Tokens, "accessToken">, person: Person) {
  const users = clientOf(world.url, UserService, accessToken);
  const { user } = await users.getUser({ key: { case: "userId", value: person.userId } });
  const { sub, did } = JSON.parse(Buffer.from(accessToken.split(".")[1]!, "base64url").toString());
  assert.equal(sub, person.userId);
  return { userName: user?.userName, deviceId: did };
}

for (const protocol of ["grpc", "connect"] as const) {
  test(`a desktop that watches over ${protocol} is logged in after a phone scans and confirms`, {
    timeout: TIMEOUT,
  }, async () => {
    const [ana] = await people(world, "ana");
    const phone = await phoneOf(ana!);
    const screen = await QrScreen.show(world, { deviceName: "Ana's desk" }, protocol);
    const watch = screen.watch();
    assert.equal((await watch.next())?.state, WAITING);

    const { qrLoginId } = screen;
    const scan = await phone.auth.scanQrLogin({ qrLoginId });
    assert.equal(scan.device?.deviceName, "Ana's desk");
    assert.equal(scan.coarseAddress, "127.0.0.0/24");
    const scanned = await watch.next();
    assert.equal(scanned?.state, SCANNED);
    assert.equal(scanned.scannedBy?.userName, ana!.userName);
    assert.equal(scanned.tokens, undefined);

    await phone.auth.confirmQrLogin({ qrLoginId, proof: phone.proof });
    const confirmed = await watch.next();
    assert.equal(confirmed?.state, CONFIRMED);
    assert.deepEqual(await whose(confirmed.tokens!, ana!), {
      userName: ana!.userName,
      deviceId: screen.credentials.deviceId,
    });
    assert.equal(await watch.next(), undefined);
    // The tokens can be refreshed like any others.
    const fresh = await screen.auth.refresh({ refreshToken: confirmed.tokens!.refreshToken });
    await whose(fresh.tokens!, ana!);
  });

  test(`a device that polls over ${protocol} is logged in too`, { timeout: TIMEOUT }, async () => {
    const [ana] = await people(world, "ana");
    const phone = await phoneOf(ana!);
    const screen = await QrScreen.show(world, { deviceClass: DeviceClass.WEB }, protocol);
    const { qrLoginId } = screen;
    assert.equal((await screen.poll()).state, WAITING);
    await phone.auth.scanQrLogin({ qrLoginId });
    // A phone that got no answer retries the scan.
    await phone.auth.scanQrLogin({ qrLoginId });
    assert.equal((await screen.poll()).state, SCANNED);
    await phone.auth.confirmQrLogin({ qrLoginId, proof: phone.proof });
    const { state, tokens } = await screen.poll();
    assert.equal(state, CONFIRMED);
    await whose(tokens!, ana!);
  });
}

test("both sides of a QR login work with plain JSON, as curl sends it", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { accessToken, proof } = await phoneOf(ana!);
  const post = async (method: string, body: object, token?: string) => {
    const response = await fetch(`${world.url}/lucky.auth.v1.AuthService/${method}`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(token && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
    });
    assert.equal(response.status, 200);
    return response.json();
  };
  const device = { deviceId: "curl", deviceClass: "DEVICE_CLASS_DESKTOP" };
  const { qrLoginId, secret } = await post("CreateQrLogin", { device });
  await post("ScanQrLogin", { qrLoginId }, accessToken);
  const refreshToken = proof.kind.value;
  await post("ConfirmQrLogin", { qrLoginId, proof: { refreshToken } }, accessToken);
  const { qrLogin } = await post("GetQrLogin", { qrLoginId, secret, deviceId: "curl" });
  assert.equal(qrLogin.state, "QR_LOGIN_STATE_CONFIRMED");
  await whose(qrLogin.tokens, ana!);
});

test("the phone's side works over its socket, which gets a notice of the new device", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const { accessToken, proof } = await phoneOf(ana!);
  const phone = await RawDevice.hello(world.url, accessToken);
  t.after(() => phone.close());
  const screen = await QrScreen.show(world, { deviceName: "desk" });
  const { qrLoginId } = screen;
  let calls = 0;
  const call = async (name: string, request: Uint8Array) => {
    const method = `lucky.auth.v1.AuthService/${name}`;
    calls++;
    const callId = String(calls);
    phone.send({ case: "rpc", value: { callId, method, request } });
    const { outcome } = await phone.next("rpcResult", (result) => String(result.callId) === callId);
    assert.equal(outcome.case, "response");
    return outcome.value as Uint8Array;
  };
  const scan = await call(
    "ScanQrLogin",
    toBinary(ScanQrLoginRequestSchema, create(ScanQrLoginRequestSchema, { qrLoginId })),
  );
  assert.equal(fromBinary(ScanQrLoginResponseSchema, scan).device?.deviceName, "desk");
  await call(
    "ConfirmQrLogin",
    toBinary(
      ConfirmQrLoginRequestSchema,
      create(ConfirmQrLoginRequestSchema, { qrLoginId, proof }),
    ),
  );
  const { tokens } = await screen.poll();
  await whose(tokens!, ana!);
  const confirmed = await phone.next("securityNotice");
  assert.equal(confirmed.kind, SecurityNoticeKind.QR_LOGIN_CONFIRMED);
  const notice = await phone.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.DEVICE_LOGGED_IN);
  assert.equal(notice.loginMethod, LoginMethod.QR_CODE);
  assert.equal(notice.deviceId, screen.credentials.deviceId);
  assert.equal(notice.deviceName, "desk");
});

test("a refused device gets the state REFUSED at once, and it is final", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const phone = await phoneOf(ana!);
  const screen = await QrScreen.show(world);
  const watch = screen.watch();
  await watch.next();
  await phone.auth.scanQrLogin({ qrLoginId: screen.qrLoginId });
  await watch.next();
  await phone.auth.refuseQrLogin({ qrLoginId: screen.qrLoginId });
  assert.equal((await watch.next())?.state, REFUSED);
  assert.equal(await watch.next(), undefined);
  assert.equal((await screen.poll()).state, REFUSED);
});

test("the client shows the code, logs in by itself, and keeps the login", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { client: phone } = await ana!.clientDevice({ deviceClass: DeviceClass.MOBILE });
  const device = { deviceId: "a-tab", deviceClass: DeviceClass.WEB };
  const tab = new LuckyClient({ url: world.url, device });
  const shown = await beginQrLogin({ url: world.url, device });
  const qrLoginId = shown.text.split("/").at(-1)!;
  assert.match(shown.svg, /^<svg /);
  const states: QrLoginState[] = [];
  for await (const { state, tokens } of shown.states()) {
    states.push(state);
    if (state === WAITING) await phone.auth.scanQrLogin({ qrLoginId });
    if (state === SCANNED) await phone.logins.confirmQrLogin(qrLoginId);
    if (state !== CONFIRMED) continue;
    assert.equal((await whose(tokens!, ana!)).deviceId, "a-tab");
    tab.resume(tokens!);
  }
  assert.deepEqual(states, [WAITING, SCANNED, CONFIRMED]);

  // Its user keeps the login, so that it can end the one that confirmed it.
  await tab.logins.keepQrLogin(PASSWORD);
  const listed = (await tab.logins.devices()).map(({ device }) => device!.deviceId);
  assert.deepEqual([listed.length, listed[0]], [2, "a-tab"]);
  assert.equal(await tab.logins.revokeOtherDevices(), 1);
  await assert.rejects(phone.logins.revokeDevice("a-tab"));
});
