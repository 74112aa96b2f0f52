import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode, SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { reasonOf } from "../../client/error.ts";
import { sealPassword } from "../../client/login/password.ts";
import { randomPhoneNumber, startSmsGateway } from "../backends/sms-gateway.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { callTransports } from "../world/transports.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const smsGateway = await startSmsGateway({ after });
const settings = { ...smsGateway.settings, LUCKY_AUTH_SMS_ATTEMPTS: "2" };
const world = await startWorld({ after }, { settings });
const auth = clientOf(world.url, AuthService);
const { LOGIN, REGISTER, RESET, BIND, PROVE } = SmsPurpose;
const device = { deviceId: "first", deviceClass: DeviceClass.MOBILE };
const because = (reason: ErrorReason) => (error: unknown) => {
  assert.equal(ErrorReason[reasonOf(error)], ErrorReason[reason]);
  return true;
};
const otherThan = (code: string) => String((Number(code) + 1) % 1_000_000).padStart(6, "0");

async function codeFor(phone: string, purpose: SmsPurpose): Promise<string> {
  await auth.sendSmsCode({ phone, purpose });
  return smsGateway.codeSentTo(phone);
}

/** Registers an account by number. */
async function registerByNumber() {
  const phone = randomPhoneNumber();
  const code = await codeFor(phone, REGISTER);
  const { user, tokens } = await auth.registerByPhone({ phone, code, device });
  return { phone, userId: user!.userId, tokens: tokens! };
}

test("a code logs a device in over every transport, and only once", {
  timeout: TIMEOUT,
}, async (t) => {
  const [host] = await people(world, "host");
  const { phone, userId } = await registerByNumber();
  for (const transport of await callTransports(t, world, host!)) {
    const own = transport.client(AuthService);
    await own.sendSmsCode({ phone, purpose: LOGIN });
    const code = await smsGateway.codeSentTo(phone);
    const login = () => own.loginBySmsCode({ phone, code, device });
    assert.equal((await login()).user?.userId, userId, transport.name);
    await assert.rejects(login(), because(ErrorReason.SMS_CODE_INVALID));
  }
});

test("binding a number needs the account's password and a code, and a number belongs to one account", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await people(world, "ana", "ben");
  const asAna = clientOf(world.url, AuthService, (await ana!.login()).accessToken);
  const asBen = clientOf(world.url, AuthService, (await ben!.login()).accessToken);
  const seal = async (text: string) => sealPassword(await auth.getPublicKey({}), text);
  const right = () => seal("a passphrase for stories");
  const phone = randomPhoneNumber();
  const send = async (as: typeof asAna) => {
    await as.sendSmsCode({ phone, purpose: BIND });
    return smsGateway.codeSentTo(phone);
  };
  const anonymous = auth.sendSmsCode({ phone, purpose: BIND });
  await assert.rejects(anonymous, because(ErrorReason.TOKEN_INVALID));
  const code = await send(asAna);
  const wrong = asAna.bindPhone({ phone, code, password: await seal("not the password") });
  await assert.rejects(wrong, because(ErrorReason.CREDENTIALS_INVALID));
  const without = asAna.bindPhone({ phone, code });
  await assert.rejects(without, because(ErrorReason.CREDENTIALS_INVALID));
  const foreign = asBen.bindPhone({ phone, code, password: await right() });
  await assert.rejects(foreign, because(ErrorReason.SMS_CODE_INVALID));
  await asAna.bindPhone({ phone, code, password: await right() });
  const bens = asBen.bindPhone({ phone, code: await send(asBen), password: await right() });
  await assert.rejects(bens, because(ErrorReason.PHONE_TAKEN));
  const { user } = await auth.loginBySmsCode({ phone, code: await codeFor(phone, LOGIN), device });
  assert.equal(user?.userId, ana!.userId);
});

test("replacing a number ends the other logins and needs a code to the old number", {
  timeout: TIMEOUT,
}, async (t) => {
  const { phone: old, tokens } = await registerByNumber();
  const mine = clientOf(world.url, AuthService, tokens.accessToken);
  const other = await auth.loginBySmsCode({
    phone: old,
    code: await codeFor(old, LOGIN),
    device: { deviceId: "second", deviceClass: DeviceClass.WEB },
  });
  const here = await RawDevice.hello(world.url, tokens.accessToken);
  const there = await RawDevice.hello(world.connects.at(-1)!, other.tokens!.accessToken);
  t.after(() => here.close());
  const phone = randomPhoneNumber();
  await mine.sendSmsCode({ phone, purpose: BIND });
  const code = await smsGateway.codeSentTo(phone);
  await assert.rejects(mine.bindPhone({ phone, code }), because(ErrorReason.SMS_CODE_INVALID));
  await mine.sendSmsCode({ phone: old, purpose: PROVE });
  await mine.bindPhone({ phone, code, proofCode: await smsGateway.codeSentTo(old) });
  assert.equal((await there.closed).code, CloseCode.TOKEN_REVOKED);
  const notice = await here.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.PHONE_CHANGED);
  await here.roundTrip();
});

test("answers about codes do not reveal which numbers have an account", {
  timeout: TIMEOUT,
}, async () => {
  const { phone: friend } = await registerByNumber();
  const stranger = randomPhoneNumber();
  const before = smsGateway.arrived.length;
  for (const purpose of [LOGIN, RESET]) await auth.sendSmsCode({ phone: stranger, purpose });
  // Messages arrive in order: one to the stranger would have arrived before this one.
  await codeFor(friend, LOGIN);
  assert.deepEqual(
    smsGateway.arrived.slice(before).map(({ phone }) => phone),
    [friend],
  );
  // The SMS gateway is down: the answers still do not differ.
  smsGateway.answerWith(500, 500);
  const [known500, unknown500] = [
    await auth.sendSmsCode({ phone: friend, purpose: RESET }),
    await auth.sendSmsCode({ phone: stranger, purpose: RESET }),
  ];
  assert.equal(known500.resendAfterMs, unknown500.resendAfterMs);
  for (const phone of [friend, stranger]) {
    const guess = auth.loginBySmsCode({ phone, code: "000000", device });
    await assert.rejects(guess, because(ErrorReason.SMS_CODE_INVALID));
  }
  await assert.rejects(
    auth.loginBySmsCode({ phone: randomPhoneNumber(), code: "000000", device }),
    because(ErrorReason.SMS_CODE_INVALID),
  );
});

test("a failed message is retried, then reported as SMS_NOT_SENT", {
  timeout: TIMEOUT,
}, async () => {
  const phone = randomPhoneNumber();
  smsGateway.answerWith(503);
  await codeFor(phone, REGISTER);
  smsGateway.answerWith(503, 503);
  const failing = auth.sendSmsCode({ phone, purpose: REGISTER });
  await assert.rejects(failing, because(ErrorReason.SMS_NOT_SENT));
  smsGateway.answerWith(400);
  const refused = auth.sendSmsCode({ phone, purpose: REGISTER });
  await assert.rejects(refused, because(ErrorReason.SMS_NOT_SENT));
  const code = await codeFor(phone, REGISTER);
  await auth.registerByPhone({ phone, code, device });
});

test("a code accepts six guesses, also when they are concurrent", {
  timeout: TIMEOUT,
}, async () => {
  const { phone } = await registerByNumber();
  const code = await codeFor(phone, LOGIN);
  const guess = (one: string) => auth.loginBySmsCode({ phone, code: one, device });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 12 }, () => guess(otherThan(code))),
  );
  const reasons = outcomes.map((o) => (o.status === "rejected" ? reasonOf(o.reason) : undefined));
  assert.equal(reasons.filter((r) => r === ErrorReason.SMS_CODE_INVALID).length, 6);
  assert.equal(reasons.filter((r) => r === ErrorReason.SMS_CODE_EXHAUSTED).length, 6);
  await assert.rejects(guess(code), because(ErrorReason.SMS_CODE_EXHAUSTED));
  await auth.loginBySmsCode({ phone, code: await codeFor(phone, LOGIN), device });
});
