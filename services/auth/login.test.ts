import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { DeviceClass } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { detailOf } from "../../platform/errors.ts";
import { startTestPostgres } from "../../test/postgres.ts";
import { goodPassword, refused, startTestAuth, type TestAuth } from "./auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });
const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };

/** Logs in with a password. Resolves with the failure, undefined for none. */
async function failureOf(on: TestAuth, userName: string, text: string) {
  const password = await on.encrypt(text);
  return on.auth.login({ userName, password, device }).then(
    () => undefined,
    (error: unknown) => ConnectError.from(error),
  );
}

test("a locked account says so only with the right password, and when it opens", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userName } = await one.register();
  for (let n = 0; n < 5; n++) await failureOf(one, userName, "wrong");
  const guess = await failureOf(one, userName, "wrong again");
  const nobody = await failureOf(one, "nobody-at-all", "wrong again");
  assert.equal(guess?.message, nobody?.message);
  assert.deepEqual(detailOf(guess), detailOf(nobody));
  assert.equal(detailOf(guess)?.reason, ErrorReason.CREDENTIALS_INVALID);

  const owner = await failureOf(one, userName, goodPassword);
  assert.equal(detailOf(owner)?.reason, ErrorReason.ACCOUNT_LOCKED);
  assert.equal(detailOf(owner)?.retryAfterMs, 1_000n);
  one.clock.advance(999);
  assert.equal(detailOf(await failureOf(one, userName, goodPassword))?.retryAfterMs, 1n);
  one.clock.advance(1);
  assert.equal(await failureOf(one, userName, goodPassword), undefined);
  // The failures are forgotten: five are free again.
  for (let n = 0; n < 4; n++) await failureOf(one, userName, "wrong");
  assert.equal(await failureOf(one, userName, goodPassword), undefined);
});

test("a name that nobody has is locked like one that somebody has", async (t) => {
  const one = await startTestAuth({ url, t, config: { loginFreeFailuresPerAddress: 12 } });
  const { userName } = await one.register();
  for (let n = 0; n < 6; n++)
    for (const name of [userName, "nobody-at-all"])
      assert.equal(
        detailOf(await failureOf(one, name, "wrong"))?.reason,
        ErrorReason.CREDENTIALS_INVALID,
      );
  // Five of each counted; two more and the address has to wait.
  for (const name of ["another", "a-third"]) await failureOf(one, name, "wrong");
  for (const name of [userName, "nobody-at-all"]) {
    const failure = await failureOf(one, name, goodPassword);
    assert.equal(detailOf(failure)?.reason, ErrorReason.RATE_LIMITED);
    assert.equal(detailOf(failure)?.retryAfterMs, 1_000n);
  }
});

test("a hash with other parameters is made anew at a login, and only with the right password", async (t) => {
  const before = await startTestAuth({ url, t });
  const { userId, userName } = await before.register();
  const hashNow = async () => {
    const sql = "SELECT password_hash FROM auth.account WHERE user_id = $1";
    return (await pool.query<{ password_hash: string }>(sql, [userId])).rows[0]!.password_hash;
  };
  const old = await hashNow();
  const one = await startTestAuth({ url, t, config: { hashIterations: 2, hashMemoryKib: 9_216 } });
  await failureOf(one, userName, "wrong");
  assert.equal(await hashNow(), old);
  const logins = await Promise.all(["a", "b", "c"].map((id) => one.login(userName, id)));
  assert.equal(logins.length, 3);
  assert.match(await hashNow(), /^\$argon2id\$v=19\$m=9216,t=2,p=1\$/);
  const fresh = await hashNow();
  await one.login(userName);
  assert.equal(await hashNow(), fresh);
});

test("a disabled account reads like any other without the right password", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userId, userName } = await one.register();
  await pool.query("UPDATE auth.account SET state = 'disabled' WHERE user_id = $1", [userId]);
  const [guess, nobody] = [
    await failureOf(one, userName, "wrong"),
    await failureOf(one, "nobody-at-all", "wrong"),
  ];
  assert.equal(guess?.message, nobody?.message);
  await refused(one.login(userName), ErrorReason.ACCOUNT_DISABLED);
});

test("an unknown user, a wrong password and a locked account take the same time", async (t) => {
  const config = { loginFreeFailures: 1_000, loginFreeFailuresPerAddress: 100_000 };
  // A hash that costs more than all the rest, as in production.
  const one = await startTestAuth({
    url,
    t,
    config: { ...config, hashMemoryKib: 19_456, hashIterations: 2 },
  });
  const tight = { ...config, loginFreeFailures: 1, loginDelayMs: 3_600_000 };
  const locking = await startTestAuth({
    url,
    t,
    config: { ...tight, hashMemoryKib: 19_456, hashIterations: 2 },
  });
  const { userName } = await one.register();
  await failureOf(locking, userName, "wrong");
  const cases: [string, TestAuth, string][] = [
    ["wrong", one, userName],
    ["unknown", one, "nobody-at-all"],
    ["locked", locking, userName],
  ];
  const times = new Map<string, number[]>(cases.map(([name]) => [name, []]));
  // By turns: whatever else the machine does meets all alike.
  for (let round = 0; round < 25; round++)
    for (const [name, on, who] of cases) {
      const password = await on.encrypt("not the password");
      const startedAt = performance.now();
      const failing = on.auth.login({ userName: who, password, device });
      await refused(failing, ErrorReason.CREDENTIALS_INVALID);
      times.get(name)!.push(performance.now() - startedAt);
    }
  const medians = [...times].map(([name, all]) => {
    const sorted = all.slice(5).toSorted((a, b) => a - b);
    return [name, sorted[Math.floor(sorted.length / 2)]!] as const;
  });
  const text = medians.map(([name, ms]) => `${name} ${ms.toFixed(2)} ms`).join(", ");
  t.diagnostic(text);
  const only = medians.map(([, ms]) => ms);
  // Without the hash an unknown user would take a tenth of it.
  assert.ok(Math.max(...only) < 1.5 * Math.min(...only), text);
});
