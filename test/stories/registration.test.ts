import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { AuthService, DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "../../client/error.ts";
import { sealPassword } from "../../client/login/password.ts";
import { randomPhoneNumber, startSmsGateway } from "../backends/sms-gateway.ts";
import { clientOf, people } from "../world/people.ts";
import { callTransports } from "../world/transports.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const smsGateway = await startSmsGateway({ after });
const world = await startWorld(
  { after },
  {
    settings: { ...smsGateway.settings, LUCKY_AUTH_PASSWORD_MIN_SCORE: "2" },
  },
);
const auth = clientOf(world.url, AuthService);
const device = { deviceId: "first", deviceClass: DeviceClass.MOBILE };
const PASSWORD = "tulip hatchet orbit";
const sealed = async (text = PASSWORD) => sealPassword(await auth.getPublicKey({}), text);
const fresh = (name: string) => `${name}-${randomUUID().slice(0, 8)}`;
const because = (reason: ErrorReason) => (error: unknown) => {
  assert.equal(ErrorReason[reasonOf(error)], ErrorReason[reason]);
  return true;
};

/** Requests a code and reads it from the SMS gateway. */
async function codeFor(phone: string): Promise<string> {
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.REGISTER });
  return smsGateway.codeSentTo(phone);
}

test("an account is registered by name and password over every transport", {
  timeout: TIMEOUT,
}, async (t) => {
  const [host] = await people(world, "host");
  for (const transport of await callTransports(t, world, host!)) {
    const own = transport.client(AuthService);
    const seal = async () => sealPassword(await own.getPublicKey({}), PASSWORD);
    const userName = fresh("Ana");
    const registered = await own.register({ userName, password: await seal(), displayName: "Ana" });
    assert.equal(registered.user?.displayName, "Ana", transport.name);
    const loggedIn = await own.login({
      userName: userName.toUpperCase(),
      password: await seal(),
      device,
    });
    assert.equal(loggedIn.user?.userId, registered.user?.userId, transport.name);
  }
});

test("a registration whose answer was lost is repeated with its key, and a key serves one account", {
  timeout: TIMEOUT,
}, async () => {
  const request = { userName: fresh("Ana"), clientRegistrationId: randomUUID() };
  const register = async (text = PASSWORD, changed = {}) =>
    auth.register({ ...request, ...changed, password: await sealed(text) });
  const lost = new AbortController();
  const password = await sealed();
  const first = auth.register({ ...request, password }, { signal: lost.signal });
  lost.abort();
  await assert.rejects(first);
  const answers = await Promise.all([register(), register(), register()]);
  for (const { user } of answers) assert.deepEqual(user, answers[0].user);
  const reused = because(ErrorReason.KEY_REUSED);
  await assert.rejects(register("another hatchet orbit"), reused);
  await assert.rejects(register(PASSWORD, { userName: fresh("Ben") }), reused);
  const loggedIn = await auth.login({ ...request, password: await sealed(), device });
  assert.deepEqual(loggedIn.user, answers[0].user);
});

test("another spelling of a taken name counts as taken, and a look-alike is refused", {
  timeout: TIMEOUT,
}, async () => {
  const tail = randomUUID().slice(0, 8);
  const register = async (userName: string) =>
    auth.register({ userName, password: await sealed() });
  await register(`maria.${tail}`);
  for (const userName of [`MARIA.${tail}`, `Ｍaria.${tail}`])
    await assert.rejects(register(userName), because(ErrorReason.USER_NAME_TAKEN));
  // The first "a" is Cyrillic.
  const lookAlike = register(`m\u0430ria.${tail}`);
  await assert.rejects(lookAlike, because(ErrorReason.USER_NAME_CONFUSABLE));
  // Invisible characters: Unicode has them as a mark and a letter, but they show nothing.
  for (const invisible of [`maria.${tail}\ufe0f`, `maria\u3164.${tail}`, "\u3164\u3164\u3164"])
    await assert.rejects(register(invisible), because(ErrorReason.INVALID_ARGUMENT));
});

test("a password is rated by how easily it is guessed, not by its character classes", {
  timeout: TIMEOUT,
}, async () => {
  const userName = fresh("judged");
  const register = async (text: string) =>
    auth.register({ userName, password: await sealed(text) });
  for (const weak of ["Passw0rd!", "Aa1!", "qwertyuiop", userName])
    await assert.rejects(register(weak), because(ErrorReason.PASSWORD_WEAK));
  await register("onlysmallletters sunlit");
});

test("an account is registered by a proven number over every transport", {
  timeout: TIMEOUT,
}, async (t) => {
  const [host] = await people(world, "host");
  for (const transport of await callTransports(t, world, host!)) {
    const own = transport.client(AuthService);
    const phone = randomPhoneNumber();
    const sent = await own.sendSmsCode({ phone, purpose: SmsPurpose.REGISTER });
    assert.ok(sent.expiresAtMs > 0n);
    const code = await smsGateway.codeSentTo(phone);
    const { user, tokens } = await own.registerByPhone({ phone, code, device });
    assert.match(user!.userName, /^user-\d+$/, transport.name);
    assert.equal(user!.displayName, user!.userName);
    const users = clientOf(world.url, UserService, tokens!.accessToken);
    const { profile } = await users.getMyProfile({});
    assert.equal(profile?.phone, phone);
  }
});

test("an account registered by number may choose a name and a password and log in with both", {
  timeout: TIMEOUT,
}, async () => {
  const phone = randomPhoneNumber();
  const userName = fresh("Ben");
  const code = await codeFor(phone);
  const first = await auth.registerByPhone({
    phone,
    code,
    userName,
    displayName: "Ben",
    password: await sealed(),
    device,
  });
  const again = await auth.login({ userName, password: await sealed(), device });
  assert.deepEqual(again.user, first.user);
  assert.equal(first.user?.displayName, "Ben");
});

test("a taken name or a weak password does not use up the code", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const phone = randomPhoneNumber();
  const code = await codeFor(phone);
  const register = async (userName: string, text: string) =>
    auth.registerByPhone({ phone, code, userName, password: await sealed(text), device });
  const taken = register(ana!.userName, PASSWORD);
  await assert.rejects(taken, because(ErrorReason.USER_NAME_TAKEN));
  const weak = register(fresh("weak"), "12345678");
  await assert.rejects(weak, because(ErrorReason.PASSWORD_WEAK));
  await register(fresh("good"), PASSWORD);
});

test("a taken number is reported only with the right code, and uses up the code", {
  timeout: TIMEOUT,
}, async () => {
  const phone = randomPhoneNumber();
  await auth.registerByPhone({ phone, code: await codeFor(phone), device });
  const code = await codeFor(phone);
  const wrong = String((Number(code) + 1) % 1_000_000).padStart(6, "0");
  const guessed = auth.registerByPhone({ phone, code: wrong, device });
  await assert.rejects(guessed, because(ErrorReason.SMS_CODE_INVALID));
  const proven = () => auth.registerByPhone({ phone, code, device });
  await assert.rejects(proven(), because(ErrorReason.PHONE_TAKEN));
  await assert.rejects(proven(), because(ErrorReason.SMS_CODE_INVALID));
});

test("only one of several concurrent registrations with one code succeeds", {
  timeout: TIMEOUT,
}, async () => {
  const phone = randomPhoneNumber();
  const code = await codeFor(phone);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 5 }, () => auth.registerByPhone({ phone, code, device })),
  );
  const made = outcomes.filter(({ status }) => status === "fulfilled");
  assert.equal(made.length, 1);
  for (const outcome of outcomes)
    if (outcome.status === "rejected") because(ErrorReason.SMS_CODE_INVALID)(outcome.reason);
});
