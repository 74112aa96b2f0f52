import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { AuthService, DeviceClass, QrLoginState, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { beginQrLogin } from "../../client/login/qr-login.ts";
import { randomPhoneNumber, startSmsGateway } from "../backends/sms-gateway.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, proofBy } from "../world/people.ts";
import { QrScreen } from "../world/qr-screen.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const STOP_TIMEOUT_MS = 20_000;
const smsGateway = await startSmsGateway({ after });
const settings = { ...smsGateway.settings, LUCKY_AUTH_SMS_PER_NUMBER_PER_HOUR: "4" };
const world = await startWorld({ after }, { mode: "mesh", settings });
const auth = clientOf(world.url, AuthService);
const { WAITING, SCANNED, CONFIRMED } = QrLoginState;

/**
 * Retries while the answer is UNAVAILABLE: gateways learn of a new instance within a second.
 * Time-out: 60 s.
 */
async function retryUnavailable<T>(call: () => Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(60_000);
  for (;;) {
    try {
      return await call();
    } catch (error) {
      assert.equal(ErrorReason[reasonOf(error)], "UNAVAILABLE");
      signal.throwIfAborted();
    }
  }
}

/** The status that a process answers to its operator; undefined while it does not listen. */
async function statusOf(name: string, path: string): Promise<number | undefined> {
  return fetch(world.mesh.opsUrl(name) + path).then(
    ({ status }) => status,
    () => undefined,
  );
}

test("a QR login survives a restart of auth: the stream ends and the client polls on", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const tokensOfPhone = await ana!.login({ deviceClass: DeviceClass.MOBILE });
  const phone = clientOf(world.url, AuthService, tokensOfPhone.accessToken);
  const proof = proofBy(tokensOfPhone);
  const screen = await QrScreen.show(world);
  const watch = screen.watch();
  await watch.next();
  const cut = assert.rejects(watch.next(), (error) => reasonOf(error) === ErrorReason.UNAVAILABLE);
  const shown = await beginQrLogin({
    url: world.url,
    device: { deviceId: "patient", deviceClass: DeviceClass.DESKTOP },
  });
  const qrLoginId = shown.text.split("/").at(-1)!;
  const states: QrLoginState[] = [];
  for await (const { state, tokens } of shown.states()) {
    states.push(state);
    if (state === WAITING) await phone.scanQrLogin({ qrLoginId });
    if (state === SCANNED) {
      await world.mesh.process("auth-0").restart();
      await retryUnavailable(() => phone.confirmQrLogin({ qrLoginId, proof }));
    }
    if (state !== CONFIRMED) continue;
    const users = clientOf(world.url, UserService, tokens!.accessToken);
    assert.equal((await users.getMyProfile({})).profile?.profile?.user?.userId, ana!.userId);
  }
  await cut;
  assert.deepEqual(states, [WAITING, SCANNED, CONFIRMED]);
  assert.equal((await screen.poll()).state, WAITING);
});

test("instances that were down while a login ended refuse it after their restart", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const before = await ana!.login();
  const during = await ana!.login();
  await clientOf(world.url, AuthService, before.accessToken).logout({});
  await world.mesh.process("connect-1").kill("SIGKILL");
  await clientOf(world.url, AuthService, during.accessToken).logout({});
  const restarted = world.mesh.process("connect-1").restart();
  // It waits until the lease of its predecessor expires: it is healthy, but has not started.
  while ((await statusOf("connect-1", "/healthz")) !== 200) await setImmediate();
  assert.equal(await statusOf("connect-1", "/startz"), 503);
  assert.equal(await statusOf("connect-1", "/readyz"), 503);
  await restarted;
  assert.equal(await statusOf("connect-1", "/startz"), 200);
  await world.mesh.process("gateway-0").restart();
  for (const { accessToken } of [before, during]) {
    const device = await RawDevice.open(world.connects[1]!);
    device.send({ case: "hello", value: { accessToken } });
    assert.equal((await device.closed).code, CloseCode.TOKEN_REVOKED);
    const call = clientOf(world.url, UserService, accessToken).getMyProfile({});
    await assert.rejects(call, (error) => reasonOf(error) === ErrorReason.TOKEN_REVOKED);
  }
});

test("codes, their budgets and the time survive a restart of auth", {
  timeout: TIMEOUT,
}, async () => {
  const phone = randomPhoneNumber();
  const device = { deviceId: "first", deviceClass: DeviceClass.MOBILE };
  const codeFor = async (purpose: SmsPurpose) => {
    await auth.sendSmsCode({ phone, purpose });
    return smsGateway.codeSentTo(phone);
  };
  const registered = await auth.registerByPhone({
    phone,
    code: await codeFor(SmsPurpose.REGISTER),
    device,
  });
  await codeFor(SmsPurpose.LOGIN);
  const code = await codeFor(SmsPurpose.LOGIN);
  await codeFor(SmsPurpose.RESET);
  await world.clock.advance(240_000);
  await world.mesh.process("auth-0").restart();
  await retryUnavailable(() => auth.getPublicKey({}));
  const { user, tokens } = await auth.loginBySmsCode({ phone, code, device });
  assert.equal(user?.userId, registered.user?.userId);
  // The restarted process has the moved time too.
  const lifeMs = Number(tokens!.accessTokenExpiresAtMs) - world.clock.now();
  assert.ok(Math.abs(lifeMs - 900_000) < 60_000, `${lifeMs}`);
  const fifth = auth.sendSmsCode({ phone, purpose: SmsPurpose.LOGIN });
  await assert.rejects(fifth, (error) => reasonOf(error) === ErrorReason.RATE_LIMITED);
});

// The last test: it stops the world.
test("when gateway and connect stop at the same moment, a device gets Move and its close code", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const device = await RawDevice.hello(world.url, (await ana!.login()).accessToken);
  const names = ["gateway-0", "connect-0", "connect-1", "connect-2"];
  const stopped = names.map((name) => world.mesh.process(name).stop(STOP_TIMEOUT_MS));
  await device.next("move");
  assert.equal((await device.closed).code, CloseCode.MOVE);
  await Promise.all(stopped);
});
