import assert from "node:assert/strict";
import { after, test } from "node:test";
import { DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { codeOf, randomPhoneNumber } from "../../../test/backends/sms-gateway.ts";
import { GOOD_PASSWORD, refused, startTestAuth } from "../auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { auth, clock, users } = one;
const { BIND, LOGIN, PROVE, REGISTER } = SmsPurpose;

type As = ReturnType<typeof one.as>;
const device = (deviceId: string) => ({ deviceId, deviceClass: DeviceClass.MOBILE });
const good = () => one.encrypt(GOOD_PASSWORD);

/** Sends a code to the number after its rate limit has passed, and returns the code. */
async function codeTo(phone: string, purpose: SmsPurpose, as?: As): Promise<string> {
  clock.advance(61_000);
  await auth.sendSmsCode({ phone, purpose }, as);
  assert.equal(one.messages.at(-1)!.phone, phone);
  return codeOf(one.messages.at(-1)!);
}

/** An account without a password: registered by number. */
async function withNumber() {
  const phone = randomPhoneNumber();
  const code = await codeTo(phone, REGISTER);
  const answer = await auth.registerByPhone({ phone, code, device: device("phone") });
  return { phone, tokens: answer.tokens!, as: one.as(answer.tokens!) };
}

/** An account with a password, logged in on two devices. */
async function withPassword() {
  const { userName } = await one.register();
  const [tokens, other] = [await one.login(userName, "phone"), await one.login(userName, "tablet")];
  return { tokens, other, as: one.as(tokens) };
}

const phoneOf = async (as: As) => (await users.getMyProfile({}, as)).profile?.phone;
const alive = ({ refreshToken }: { refreshToken: string }) => auth.refresh({ refreshToken });
const over = (tokens: { refreshToken: string }) =>
  refused(alive(tokens), ErrorReason.REFRESH_TOKEN_INVALID);

test("the first number keeps other logins; a replaced number ends them; the same number does nothing", async () => {
  const { tokens, other, as } = await withPassword();
  const bind = async (phone: string) => {
    const code = await codeTo(phone, BIND, as);
    return auth.bindPhone({ phone, code, password: await good() }, as);
  };
  const [first, second] = [randomPhoneNumber(), randomPhoneNumber()];
  await bind(first);
  assert.equal(await phoneOf(as), first);
  const next = (await alive(other)).tokens!;
  await bind(first);
  const last = (await alive(next)).tokens!;
  await bind(second);
  assert.equal(await phoneOf(as), second);
  await over(last);
  await alive(tokens);
  const { rows } = await pool.query(
    "SELECT revoked_reason AS why FROM auth.login WHERE device_id = 'tablet'",
  );
  assert.deepEqual(rows, [{ why: "phone" }]);
});

test("a replaced number allows neither a login nor a password reset", async () => {
  const { as } = await withPassword();
  const [old, fresh] = [randomPhoneNumber(), randomPhoneNumber()];
  for (const phone of [old, fresh]) {
    const code = await codeTo(phone, BIND, as);
    await auth.bindPhone({ phone, code, password: await good() }, as);
  }
  clock.advance(61_000);
  const before = one.messages.length;
  for (const purpose of [LOGIN, SmsPurpose.RESET]) {
    await auth.sendSmsCode({ phone: old, purpose });
    clock.advance(61_000);
  }
  assert.equal(one.messages.length, before);
});

test("a code requested before the number was replaced is refused afterwards", async () => {
  const { as } = await withPassword();
  const [old, fresh] = [randomPhoneNumber(), randomPhoneNumber()];
  const code = await codeTo(old, BIND, as);
  await auth.bindPhone({ phone: old, code, password: await good() }, as);
  const stale = await codeTo(old, LOGIN);
  const newer = await codeTo(fresh, BIND, as);
  await auth.bindPhone({ phone: fresh, code: newer, password: await good() }, as);
  const thief = auth.loginBySmsCode({ phone: old, code: stale, device: device("thief") });
  await refused(thief, ErrorReason.SMS_CODE_INVALID);
});

test("a stolen access token alone cannot bind a number, set a password or delete the account", async () => {
  const { phone: own, as } = await withNumber();
  const thiefsPhone = randomPhoneNumber();
  const code = await codeTo(thiefsPhone, BIND, as);
  const attempts = {
    bind: (proofCode: string) => auth.bindPhone({ phone: thiefsPhone, code, proofCode }, as),
    set: async (proofCode: string) =>
      auth.changePassword({ newPassword: await good(), proofCode }, as),
    delete: (proofCode: string) => auth.deleteAccount({ proofCode }, as),
  };
  // Each attempt is refused without a code, and with a code to the thief's own number.
  for (const attempt of Object.values(attempts))
    for (const given of ["", code]) await refused(attempt(given), ErrorReason.SMS_CODE_INVALID);
  // A code of purpose PROVE is sent only to the account's own number.
  clock.advance(61_000);
  const elsewhere = auth.sendSmsCode({ phone: thiefsPhone, purpose: PROVE }, as);
  await refused(elsewhere, ErrorReason.PHONE_INVALID);
  await refused(auth.sendSmsCode({ phone: own, purpose: PROVE }), ErrorReason.TOKEN_INVALID);
  assert.equal(await phoneOf(as), own);
});

test("without a password, replacing a number requires codes to both numbers, which are consumed together", async () => {
  const { phone: own, tokens, as } = await withNumber();
  const other = await auth.loginBySmsCode({
    phone: own,
    code: await codeTo(own, LOGIN),
    device: device("tablet"),
  });
  const fresh = randomPhoneNumber();
  const proofCode = await codeTo(own, PROVE, as);
  const code = await codeTo(fresh, BIND, as);
  const wrong = code === "000000" ? "000001" : "000000";
  const bind = (given: { code: string; proofCode: string }) =>
    auth.bindPhone({ phone: fresh, ...given }, as);
  // While one code is wrong, the other is neither consumed nor counted as a guess.
  for (let n = 0; n < 4; n++) {
    await refused(bind({ code: wrong, proofCode }), ErrorReason.SMS_CODE_INVALID);
    await refused(bind({ code, proofCode: wrong }), ErrorReason.SMS_CODE_INVALID);
  }
  await bind({ code, proofCode });
  assert.equal(await phoneOf(as), fresh);
  await over(other.tokens!);
  await alive(tokens);
  await refused(bind({ code, proofCode }), ErrorReason.SMS_CODE_INVALID);
});

test("one proof authorises one of several concurrent changes", async () => {
  const { phone: own, as } = await withNumber();
  const proofCode = await codeTo(own, PROVE, as);
  const numbers = [randomPhoneNumber(), randomPhoneNumber()];
  const outcomes = await Promise.allSettled(
    await Promise.all(
      numbers.map(async (phone) => {
        await auth.sendSmsCode({ phone, purpose: BIND }, as);
        const code = codeOf(one.messages.findLast((sms) => sms.phone === phone)!);
        return () => auth.bindPhone({ phone, code, proofCode }, as);
      }),
    ).then((calls) => calls.map((call) => call())),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
});

test("a proof is refused for another account", async () => {
  const [ana, eve] = [await withNumber(), await withNumber()];
  const proofCode = await codeTo(ana.phone, PROVE, ana.as);
  const deleting = auth.deleteAccount({ proofCode }, eve.as);
  await refused(deleting, ErrorReason.SMS_CODE_INVALID);
  await auth.deleteAccount({ proofCode }, ana.as);
});

test("a first password is set with a proof; a weak password does not consume the proof", async () => {
  const { phone, as } = await withNumber();
  const proofCode = await codeTo(phone, PROVE, as);
  const set = async (text: string) =>
    auth.changePassword({ newPassword: await one.encrypt(text), proofCode }, as);
  await refused(set("short"), ErrorReason.PASSWORD_WEAK);
  await set(GOOD_PASSWORD);
  assert.equal((await users.getMyProfile({}, as)).profile?.hasPassword, true);
  // From now on the password is required as proof.
  const newProofCode = await codeTo(phone, PROVE, as);
  await refused(
    auth.deleteAccount({ proofCode: newProofCode }, as),
    ErrorReason.CREDENTIALS_INVALID,
  );
});
