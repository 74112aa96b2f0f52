import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { GOOD_PASSWORD, refused, startTestAuth } from "../auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const two = await startTestAuth({ url, t: { after }, clock: one.clock });
const { auth, clock } = one;

let names = 0;
/** A request that nobody has made yet. */
const fresh = () => ({
  userName: `key-user-${++names}`,
  displayName: "Ana",
  clientRegistrationId: randomUUID(),
});
/** Registers with a new ciphertext, as a client does in a retry. */
const register = async (request: object, on = one, password = GOOD_PASSWORD) =>
  on.auth.register({ ...request, password: await on.encrypt(password) });
const countOf = async (userName: string) => {
  const sql = "SELECT count(*)::int AS n FROM auth.account WHERE user_name = $1";
  return (await pool.query<{ n: number }>(sql, [userName])).rows[0]!.n;
};

test("a retry of Register returns the first answer and creates no account", async () => {
  const request = fresh();
  const first = await register(request);
  assert.deepEqual(await register(request, two), first);
  assert.equal(await countOf(request.userName), 1);
  const { clientRegistrationId: _, ...withoutKey } = request;
  await refused(register(withoutKey), ErrorReason.USER_NAME_TAKEN);
});

test("concurrent retries create one account and get the same answer", async () => {
  const request = fresh();
  const answers = await Promise.all([one, two, one, two].map((on) => register(request, on)));
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
  assert.equal(await countOf(request.userName), 1);
});

test("a known key with other content is refused, also in a race", async () => {
  const request = fresh();
  await register(request);
  const others = [{ userName: `${request.userName}-x` }, { displayName: "Ben" }];
  for (const other of others)
    await refused(register({ ...request, ...other }), ErrorReason.KEY_REUSED);
  await refused(register(request, one, `${GOOD_PASSWORD}?`), ErrorReason.KEY_REUSED);
  assert.equal(await countOf(`${request.userName}-x`), 0);

  const { clientRegistrationId } = fresh();
  const racing = [fresh(), fresh()].map((each) => ({ ...each, clientRegistrationId }));
  const raced = await Promise.allSettled([register(racing[0]!), register(racing[1]!, two)]);
  const lost = raced.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
  assert.equal(lost.length, 1);
  await refused(Promise.reject(lost[0]), ErrorReason.KEY_REUSED);
});

test("the first answer has the names of now, and the retry is compared with those asked for then", async () => {
  const request = fresh();
  const { user } = await register(request);
  const tokens = await one.login(request.userName);
  await one.users.updateProfile({ displayName: "Changed" }, one.as(tokens));
  const again = await register(request);
  assert.deepEqual(again.user, { ...user, displayName: "Changed" });
  await refused(register({ ...request, displayName: "Changed" }), ErrorReason.KEY_REUSED);
});

test("a failed registration leaves its key unused", async () => {
  const taken = fresh();
  await register(taken);
  const request = fresh();
  const failed = register({ ...request, userName: taken.userName });
  await refused(failed, ErrorReason.USER_NAME_TAKEN);
  await register(request);
});

test("guesses of the password through a known key lock the account like failed logins", async () => {
  const request = fresh();
  await register(request);
  for (let n = 0; n < 5; n++)
    await refused(register(request, one, "a wrong guess"), ErrorReason.KEY_REUSED);
  await refused(one.login(request.userName), ErrorReason.ACCOUNT_LOCKED);
  await refused(register(request), ErrorReason.ACCOUNT_LOCKED);
  clock.advance(3_600_000);
  await register(request);
});

test("each retry verifies one password, whichever part of the content differs", async () => {
  const request = fresh();
  await register(request);
  const verified = async () => {
    const text = await one.metrics.text();
    return Number(/password_hash_seconds_count\{work="verify"\} (\d+)/.exec(text)?.[1] ?? 0);
  };
  const calls = [
    () => register(request),
    () => register({ ...request, displayName: "Ben" }),
    () => register(request, one, "a wrong guess"),
  ];
  for (const call of calls) {
    const before = await verified();
    await call().catch(() => {});
    assert.equal(await verified(), before + 1);
  }
});

test("a key is forgotten after a day, and with its account", async () => {
  const request = fresh();
  await register(request);
  clock.advance(86_400_000 - 1_000);
  await register(request);
  clock.advance(1_000);
  await refused(register(request), ErrorReason.USER_NAME_TAKEN);
  const { user } = await register({
    ...fresh(),
    clientRegistrationId: request.clientRegistrationId,
  });

  const tokens = await one.login(user!.userName);
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, one.as(tokens));
  const { rows } = await pool.query("SELECT 1 FROM auth.registration_key WHERE user_id = $1", [
    user!.userId,
  ]);
  assert.equal(rows.length, 0);
});
