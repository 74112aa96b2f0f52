import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { GOOD_PASSWORD, refused, startTestAuth, type TestAuth } from "../auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });
const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };

/** Logs in with a password. Resolves with the error, undefined on success. */
async function failureOf(on: TestAuth, userName: string, text: string) {
  const password = await on.encrypt(text);
  return on.auth.login({ userName, password, device }).then(
    () => undefined,
    (error: unknown) => ConnectError.from(error),
  );
}

test("only the right password discloses a lock, with the time until it ends", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userName } = await one.register();
  for (let n = 0; n < 5; n++) await failureOf(one, userName, "wrong");
  const guess = await failureOf(one, userName, "wrong again");
  const nobody = await failureOf(one, "nobody-at-all", "wrong again");
  assert.equal(guess?.message, nobody?.message);
  assert.deepEqual(detailOf(guess), detailOf(nobody));
  assert.equal(detailOf(guess)?.reason, ErrorReason.CREDENTIALS_INVALID);

  const owner = await failureOf(one, userName, GOOD_PASSWORD);
  assert.equal(detailOf(owner)?.reason, ErrorReason.ACCOUNT_LOCKED);
  assert.equal(detailOf(owner)?.retryAfterMs, 1_000n);
  one.clock.advance(999);
  assert.equal(detailOf(await failureOf(one, userName, GOOD_PASSWORD))?.retryAfterMs, 1n);
  one.clock.advance(1);
  assert.equal(await failureOf(one, userName, GOOD_PASSWORD), undefined);
  // The success cleared the failures, so five are free.
  for (let n = 0; n < 4; n++) await failureOf(one, userName, "wrong");
  assert.equal(await failureOf(one, userName, GOOD_PASSWORD), undefined);
});

test("an unknown name is locked like the name of an account", async (t) => {
  const one = await startTestAuth({ url, t, config: { loginFreeFailuresPerAddress: 12 } });
  const { userName } = await one.register();
  for (let n = 0; n < 6; n++)
    for (const name of [userName, "nobody-at-all"])
      assert.equal(
        detailOf(await failureOf(one, name, "wrong"))?.reason,
        ErrorReason.CREDENTIALS_INVALID,
      );
  // Five failures of each name were counted; after two more the address is throttled.
  for (const name of ["another", "a-third"]) await failureOf(one, name, "wrong");
  for (const name of [userName, "nobody-at-all"]) {
    const failure = await failureOf(one, name, GOOD_PASSWORD);
    assert.equal(detailOf(failure)?.reason, ErrorReason.RATE_LIMITED);
    assert.equal(detailOf(failure)?.retryAfterMs, 1_000n);
  }
});

test("a login with the right password rehashes a hash with old parameters", async (t) => {
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

test("without the right password a disabled account gets the same error as an unknown one", async (t) => {
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

test("unknown name, wrong password, no password and locked account cost one hash each", async (t) => {
  const free = { loginFreeFailures: 1_000, loginFreeFailuresPerAddress: 100_000 };
  // One hash costs more than all other work for the request, as in production.
  const cost = { hashMemoryKib: 19_456, hashIterations: 2 };
  const one = await startTestAuth({ url, t, config: { ...free, ...cost } });
  const tight = { ...free, ...cost, loginFreeFailures: 1, loginDelayMs: 3_600_000 };
  const locking = await startTestAuth({ url, t, config: tight });
  const { userName } = await one.register();
  const { userName: bare, userId } = await one.register();
  await pool.query("UPDATE auth.account SET password_hash = NULL WHERE user_id = $1", [userId]);
  await failureOf(locking, userName, "wrong");
  const cases: [string, TestAuth, string][] = [
    ["wrong", one, userName],
    ["unknown", one, "nobody-at-all"],
    ["without a password", one, bare],
    ["locked", locking, userName],
    ["unknown and locked", locking, "nobody-at-all"],
  ];
  await failureOf(locking, "nobody-at-all", "wrong");
  const times = new Map<string, number[]>(cases.map(([name]) => [name, []]));
  const answers = new Set<string>();
  // Cases alternate, so that other load on the machine affects all of them equally.
  for (let round = 0; round < 8; round++)
    for (const [name, on, userName] of cases) {
      const password = await on.encrypt("not the password");
      const before = await hashesOf(on);
      const startedAt = performance.now();
      const failure = await on.auth.login({ userName, password, device }).catch(String);
      times.get(name)!.push(performance.now() - startedAt);
      answers.add(String(failure));
      assert.deepEqual(await hashesOf(on), { ...before, verify: before.verify + 1 }, name);
    }
  assert.equal(answers.size, 1, [...answers].join(" / "));
  // Times are only reported: on a busy machine they vary too much to assert on.
  for (const [name, all] of times) {
    const [median = 0] = all.toSorted((a, b) => a - b).slice(all.length / 2);
    t.diagnostic(`${name}: ${median.toFixed(2)} ms`);
  }
});

/** Number of passwords that were hashed and verified. */
async function hashesOf({ metrics }: TestAuth) {
  const text = await metrics.text();
  const count = (work: string) => {
    const line = new RegExp(`lucky_auth_password_hash_seconds_count\\{work="${work}"\\} (\\d+)`);
    return Number(line.exec(text)?.[1] ?? 0);
  };
  return { hash: count("hash"), verify: count("verify") };
}
