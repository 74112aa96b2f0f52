import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LuckyError } from "../../client/error.ts";
import { randomPhoneNumber, startSmsGateway } from "../backends/sms-gateway.ts";
import { clientOf } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const [perAddress, newPerDay] = [20, 40];
const smsGateway = await startSmsGateway({ after });
const world = await startWorld(
  { after },
  {
    settings: {
      ...smsGateway.settings,
      LUCKY_AUTH_SMS_RESEND_SECONDS: "60",
      LUCKY_AUTH_SMS_PER_ADDRESS_PER_HOUR: String(perAddress),
      LUCKY_AUTH_SMS_PER_DAY: String(2 * newPerDay),
    },
  },
);
const { clock } = world;
const auth = clientOf(world.url, AuthService);
const { LOGIN, REGISTER } = SmsPurpose;
const device = { deviceId: "first", deviceClass: DeviceClass.MOBILE };
const [SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS] = [1_000, 60_000, 3_600_000, 86_400_000];

/** A number with an account, registered before the tests move the clock. */
const knownPhone = await (async () => {
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: REGISTER });
  await auth.registerByPhone({ phone, code: await smsGateway.codeSentTo(phone), device });
  return phone;
})();

const send = (phone: string, purpose = LOGIN) => auth.sendSmsCode({ phone, purpose });

/** Wait that the refused call asks for, ms. */
async function waitOf(call: Promise<unknown>): Promise<number> {
  const refused = await call.then(() => assert.fail("sent"), LuckyError.from);
  assert.equal(ErrorReason[refused.reason], "RATE_LIMITED");
  return refused.retryAfterMs;
}

/** Asserts that a duration is the expected one, or up to a minute shorter. */
function assertAbout(actualMs: number, expectedMs: number): void {
  const right = actualMs <= expectedMs && actualMs > expectedMs - MINUTE_MS;
  assert.ok(right, `${actualMs} ms, not ${expectedMs}`);
}

test("a code is valid for five minutes, and another one can be requested after one minute", {
  timeout: TIMEOUT,
}, async () => {
  await clock.advance(HOUR_MS);
  const sent = await send(knownPhone);
  assertAbout(Number(sent.expiresAtMs) - clock.now(), 5 * MINUTE_MS);
  assert.equal(Number(sent.resendAfterMs), MINUTE_MS);
  const code = await smsGateway.codeSentTo(knownPhone);
  assertAbout(await waitOf(send(knownPhone)), MINUTE_MS);
  await clock.advance(40 * SECOND_MS);
  assertAbout(await waitOf(send(knownPhone)), 20 * SECOND_MS);
  await clock.advance(21 * SECOND_MS);
  await send(knownPhone);
  const [older, newer] = [code, await smsGateway.codeSentTo(knownPhone)];
  const login = (code: string) => auth.loginBySmsCode({ phone: knownPhone, code, device });
  const refused = (code: string) =>
    assert.rejects(login(code), (error) => {
      assert.equal(ErrorReason[LuckyError.from(error).reason], "SMS_CODE_INVALID");
      return true;
    });
  if (older !== newer) await refused(older);
  // The code still works shortly before it expires.
  await clock.advance(5 * MINUTE_MS - 20 * SECOND_MS);
  await login(newer);
  await clock.advance(MINUTE_MS);
  await send(knownPhone);
  const late = await smsGateway.codeSentTo(knownPhone);
  await clock.advance(5 * MINUTE_MS);
  await refused(late);
});

test("a number gets at most five codes in an hour and ten in a day", {
  timeout: TIMEOUT,
}, async () => {
  const phone = randomPhoneNumber();
  const wait = () => waitOf(send(phone));
  for (let n = 0; n < 5; n++) {
    await send(phone);
    await clock.advance(2 * MINUTE_MS);
  }
  // The first one is ten minutes old.
  assertAbout(await wait(), 50 * MINUTE_MS);
  await clock.advance(50 * MINUTE_MS);
  for (let n = 0; n < 5; n++) {
    await send(phone);
    await clock.advance(HOUR_MS);
  }
  // The first one is six hours old.
  assertAbout(await wait(), 18 * HOUR_MS);
  await clock.advance(18 * HOUR_MS);
  await send(phone);
});

test("a request without an answer is retried after 3 s and abandoned after 8 s", {
  timeout: TIMEOUT,
}, async () => {
  await clock.advance(HOUR_MS);
  const phone = randomPhoneNumber();
  smsGateway.answerWith("no answer");
  const once = smsGateway.nextUnanswered();
  const sending = send(phone, REGISTER);
  await once;
  await clock.advance(3 * SECOND_MS);
  await sending;
  await smsGateway.codeSentTo(phone);

  smsGateway.answerWith("no answer", "no answer", "no answer");
  let next = smsGateway.nextUnanswered();
  const failing = assert.rejects(send(randomPhoneNumber(), REGISTER), (error) => {
    assert.equal(ErrorReason[LuckyError.from(error).reason], "SMS_NOT_SENT");
    return true;
  });
  for (let attempt = 1; attempt < 3; attempt++) {
    await next;
    next = smsGateway.nextUnanswered();
    await clock.advance(3 * SECOND_MS);
  }
  await next;
  await clock.advance(2 * SECOND_MS);
  await failing;
});

test("codes are limited per address and hour, and for the whole system per day", {
  timeout: TIMEOUT,
}, async () => {
  await clock.advance(2 * DAY_MS);
  for (let hour = 0; hour * perAddress < newPerDay; hour++) {
    for (let n = 0; n < perAddress; n++) await send(randomPhoneNumber(), REGISTER);
    assertAbout(await waitOf(send(randomPhoneNumber(), REGISTER)), HOUR_MS);
    await clock.advance(HOUR_MS);
  }
  assertAbout(await waitOf(send(randomPhoneNumber(), REGISTER)), DAY_MS - 2 * HOUR_MS);
  // Numbers without an account used up their share; a user still gets a code.
  await send(knownPhone);
  await smsGateway.codeSentTo(knownPhone);
  await clock.advance(DAY_MS - 2 * HOUR_MS);
  await send(randomPhoneNumber(), REGISTER);
});
