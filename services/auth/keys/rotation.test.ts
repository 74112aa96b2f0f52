import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { codeOf, randomPhoneNumber } from "../../../test/backends/sms-gateway.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { refused, startTestAuth, type TestAuth } from "../auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });
const MINUTE = 60_000;
const DAY = 86_400_000;
const config = { keyRotationDays: 30 };

/** Ids of the stored keys, except the key of user ids, which never rotates. */
const keyIds = async (): Promise<string[]> =>
  (await pool.query("SELECT key_id FROM auth.key WHERE purpose <> 'userId'")).rows.map(
    ({ key_id }) => key_id,
  );

async function registerBy(phone: string, { auth, messages }: TestAuth) {
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.REGISTER });
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  return auth.registerByPhone({ phone, code: codeOf(messages.at(-1)!), device });
}

test("a running system replaces all its rotating keys without interruption", {
  timeout: 120_000,
}, async (t) => {
  const clock = new ManualClock();
  const one = await startTestAuth({ url, t, clock, config });
  const two = await startTestAuth({ url, t, clock, config });
  const idle = clock.waiting;
  /** Advances the clock, and waits until every chore whose timer fired has finished. */
  async function pass(ms: number) {
    clock.advance(ms);
    while (clock.waiting < idle) await setImmediate();
  }

  const phone = randomPhoneNumber();
  const { user, tokens } = await registerBy(phone, one);
  const birthday = { year: 1990, month: 5, day: 17 };
  const update = { birthday, location: "Porto", addAnswer: "yes", searchableByPhone: true };
  await one.users.updateProfile(update, one.as(tokens!));
  const { userName } = await one.register();
  const first = await keyIds();
  assert.equal(first.length, 5);

  await pass(30 * DAY);
  let steps = 0;
  for (let left = first; left.length > 0; steps++) {
    assert.ok(
      steps < 1_000,
      `after ${steps} steps there are still ${left.length} of the first keys`,
    );
    await pass(10 * MINUTE);
    const now = await keyIds();
    left = first.filter((keyId) => now.includes(keyId));
    // After every step, alternating between the instances: a login by password and a search by number.
    const at = steps % 2 === 0 ? one : two;
    const login = await at.login(userName, "laptop");
    const query = { case: "phone", value: phone } as const;
    const { users } = await at.users.searchUsers({ query }, at.as(login));
    assert.deepEqual(
      users.map(({ userId }) => userId),
      [user!.userId],
    );
  }
  // The new keys exist after an hour; the last old key is deleted once its codes have expired.
  assert.ok(steps > 6 && steps < 500, `${steps} steps`);
  assert.equal((await keyIds()).length, 5);

  await two.auth.sendSmsCode({ phone, purpose: SmsPurpose.LOGIN });
  const code = codeOf(two.messages.at(-1)!);
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  const relogin = await two.auth.loginBySmsCode({ phone, code, device });
  assert.equal(relogin.user?.userId, user?.userId);
  const { profile } = await two.users.getMyProfile({}, two.as(relogin.tokens!));
  assert.equal(profile?.phone, phone);
  assert.equal(profile?.profile?.location, "Porto");
  assert.equal(profile?.profile?.birthday?.day, 17);
  assert.equal(profile?.addAnswer, "yes");
  await refused(registerBy(phone, one), ErrorReason.RATE_LIMITED);
  clock.advance(61_000);
  await refused(registerBy(phone, one), ErrorReason.PHONE_TAKEN);
});
