import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { hash } from "@node-rs/argon2";
import { AuthService, DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { reasonOf } from "../../client/error.ts";
import { sealPassword } from "../../client/login/password.ts";
import { randomPhoneNumber, startSmsGateway } from "../backends/sms-gateway.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { callTransports } from "../world/transports.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const smsGateway = await startSmsGateway({ after });
const world = await startWorld({ after }, { settings: smsGateway.settings });
const auth = clientOf(world.url, AuthService);
const FIRST = "a passphrase for stories";
const because = (reason: ErrorReason) => (error: unknown) => {
  assert.equal(ErrorReason[reasonOf(error)], ErrorReason[reason]);
  return true;
};
const seal = async (text: string) => sealPassword(await auth.getPublicKey({}), text);
const device = () => ({ deviceId: randomUUID(), deviceClass: DeviceClass.WEB });
const login = async (userName: string, text: string) =>
  auth.login({ userName, password: await seal(text), device: device() });

/** Changes the password; seals both passwords under one answer of GetPublicKey. */
async function change(own: typeof auth, old: string | undefined, fresh: string, proofCode = "") {
  const key = await own.getPublicKey({});
  const oldPassword = old === undefined ? undefined : await sealPassword(key, old);
  return own.changePassword({
    oldPassword,
    newPassword: await sealPassword(key, fresh),
    proofCode,
  });
}

/** Registers an account by number, without a password. */
async function registerByNumber() {
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.REGISTER });
  const code = await smsGateway.codeSentTo(phone);
  const { user, tokens } = await auth.registerByPhone({ phone, code, device: device() });
  return { phone, userName: user!.userName, tokens: tokens! };
}

test("a password change ends all other logins at once and keeps the caller's", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const [mine, other] = [await ana!.login(), await ana!.login()];
  const here = await RawDevice.hello(world.url, mine.accessToken);
  const there = await RawDevice.hello(world.connects.at(-1)!, other.accessToken);
  t.after(() => here.close());
  const own = clientOf(world.url, AuthService, mine.accessToken);
  await change(own, FIRST, "tulip hatchet orbit");
  assert.equal((await there.closed).code, CloseCode.TOKEN_REVOKED);
  const refreshing = auth.refresh({ refreshToken: other.refreshToken });
  await assert.rejects(refreshing, because(ErrorReason.REFRESH_TOKEN_INVALID));
  await here.roundTrip();
  await auth.refresh({ refreshToken: mine.refreshToken });
  await assert.rejects(login(ana!.userName, FIRST), because(ErrorReason.CREDENTIALS_INVALID));
  await login(ana!.userName, "tulip hatchet orbit");
});

test("a password can be changed over every transport", { timeout: TIMEOUT }, async (t) => {
  // Each change ends the other logins, so every transport gets a person of its own.
  for (const [at, name] of ["json", "grpc", "socket"].entries()) {
    const [one] = await people(world, name);
    const transport = (await callTransports(t, world, one!))[at]!;
    await change(transport.client(AuthService), FIRST, "tulip hatchet orbit");
    await login(one!.userName, "tulip hatchet orbit");
  }
});

test("a change with a wrong old password or a weak new one is refused", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const own = clientOf(world.url, AuthService, (await ana!.login()).accessToken);
  const wrong = change(own, "not the password", "tulip hatchet orbit");
  await assert.rejects(wrong, because(ErrorReason.CREDENTIALS_INVALID));
  const without = change(own, undefined, "tulip hatchet orbit");
  await assert.rejects(without, because(ErrorReason.CREDENTIALS_INVALID));
  const weak = change(own, FIRST, ana!.userName);
  await assert.rejects(weak, because(ErrorReason.PASSWORD_WEAK));
  await login(ana!.userName, FIRST);
});

test("only one of two concurrent changes succeeds", { timeout: TIMEOUT }, async () => {
  const [ana] = await people(world, "ana");
  const own = clientOf(world.url, AuthService, (await ana!.login()).accessToken);
  const wanted = ["tulip hatchet orbit", "lantern quartz zebra"];
  const outcomes = await Promise.allSettled(wanted.map((fresh) => change(own, FIRST, fresh)));
  const held = wanted.filter((_, at) => outcomes[at]!.status === "fulfilled");
  assert.equal(held.length, 1);
  await login(ana!.userName, held[0]!);
});

test("an account without a password sets its first one with a code to its number", {
  timeout: TIMEOUT,
}, async () => {
  const { phone, userName, tokens } = await registerByNumber();
  const guess = login(userName, "tulip hatchet orbit");
  await assert.rejects(guess, because(ErrorReason.CREDENTIALS_INVALID));
  const own = clientOf(world.url, AuthService, tokens.accessToken);
  // The access token alone is not enough: it may be stolen.
  const alone = change(own, undefined, "tulip hatchet orbit");
  await assert.rejects(alone, because(ErrorReason.SMS_CODE_INVALID));
  await own.sendSmsCode({ phone, purpose: SmsPurpose.PROVE });
  await change(own, undefined, "tulip hatchet orbit", await smsGateway.codeSentTo(phone));
  await login(userName, "tulip hatchet orbit");
  const again = change(own, undefined, "lantern quartz zebra");
  await assert.rejects(again, because(ErrorReason.CREDENTIALS_INVALID));
});

test("a password reset by code ends every login", {
  timeout: TIMEOUT,
}, async () => {
  const { phone, userName, tokens } = await registerByNumber();
  const live = await RawDevice.hello(world.url, tokens.accessToken);
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.RESET });
  const code = await smsGateway.codeSentTo(phone);
  const reset = async (one: string, text: string) =>
    auth.resetPassword({ phone, code: one, newPassword: await seal(text) });
  const wrong = String((Number(code) + 1) % 1_000_000).padStart(6, "0");
  const guessed = reset(wrong, "tulip hatchet orbit");
  await assert.rejects(guessed, because(ErrorReason.SMS_CODE_INVALID));
  await assert.rejects(reset(code, userName), because(ErrorReason.PASSWORD_WEAK));
  await reset(code, "tulip hatchet orbit");
  assert.equal((await live.closed).code, CloseCode.TOKEN_REVOKED);
  await login(userName, "tulip hatchet orbit");
  const again = reset(code, "lantern quartz zebra");
  await assert.rejects(again, because(ErrorReason.SMS_CODE_INVALID));
});

test("a hash with outdated parameters is replaced at the next login", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const older = await hash(FIRST, { memoryCost: 9_000, timeCost: 2, parallelism: 1 });
  const sql = "UPDATE auth.account SET password_hash = $2 WHERE user_id = $1";
  await world.pool.query(sql, [ana!.userId, older]);
  await login(ana!.userName, FIRST);
  const { rows } = await world.pool.query(
    "SELECT password_hash FROM auth.account WHERE user_id = $1",
    [ana!.userId],
  );
  assert.match(rows[0].password_hash, /^\$argon2id\$v=19\$m=8192,t=1,p=1\$/);
  await login(ana!.userName, FIRST);
});
