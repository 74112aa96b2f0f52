import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Ids } from "#platform/ids.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { codeOf, randomPhoneNumber } from "../../../test/backends/sms-gateway.ts";
import { startTestAuth, TEST_KEY, type TestAuth } from "../auth.suite.ts";
import { createIdPermutation } from "./id-permutation.ts";
import { createKeyEncryption } from "./key-encryption.ts";
import { additionalDataOf } from "./keys.ts";

const { url, pool } = await startTestPostgres({ after });
beforeEach(() => pool.query("TRUNCATE auth.account CASCADE"));

/** A source of ids 1000, 1001, and so on. */
function countingIds(first = 1_000n): Pick<Ids, "next"> {
  let last = first - 1n;
  return { next: () => String(++last) };
}

/** The permutation of the stored key. */
async function storedPermutation() {
  const { rows } = await pool.query<{ key_id: string; private_key: Buffer }>(
    "SELECT key_id, private_key FROM auth.key WHERE purpose = 'userId'",
  );
  assert.equal(rows.length, 1);
  const [{ key_id, private_key }] = rows as [(typeof rows)[0]];
  const encryption = createKeyEncryption(TEST_KEY);
  return createIdPermutation(encryption.decrypt(private_key, additionalDataOf("userId", key_id)));
}

async function registerByPhone({ auth, messages }: TestAuth): Promise<string> {
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.REGISTER });
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  const code = codeOf(messages.at(-1)!);
  return (await auth.registerByPhone({ phone, code, device })).user!.userId;
}

test("instances that start at the same time, and later ones, make ids under one key", async (t) => {
  const [one, two] = await Promise.all([
    startTestAuth({ url, t, ids: countingIds() }),
    startTestAuth({ url, t, ids: countingIds(2_000n) }),
  ]);
  const { apply } = await storedPermutation();
  assert.equal((await one.register()).userId, String(apply(1_000n)));
  assert.equal(await registerByPhone(two), String(apply(2_000n)));
  const later = await startTestAuth({ url, t, ids: countingIds(3_000n) });
  assert.equal((await later.register()).userId, String(apply(3_000n)));
});

test("users with such ids log in, are found, and page through a search", async (t) => {
  const one = await startTestAuth({ url, t, config: { searchPageSize: 1 } });
  const users = [await one.register(), await one.register(), await one.register()];
  const tokens = await one.login(users[0]!.userName);
  const query = { case: "userNamePrefix", value: "user-" } as const;
  const found: string[] = [];
  let pageToken = "";
  do {
    const page = await one.users.searchUsers({ query, pageToken }, one.as(tokens));
    found.push(...page.users.map(({ userId }) => userId));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(found.toSorted(), users.map(({ userId }) => userId).toSorted());
});

test("an id that an account has already is skipped", async (t) => {
  const one = await startTestAuth({ url, t, ids: countingIds() });
  const { apply } = await storedPermutation();
  await pool.query(
    `INSERT INTO auth.account (user_id, user_name, user_name_key, display_name)
     VALUES ($1, 'old', 'old', 'old'), ($2, 'older', 'older', 'older')`,
    [apply(1_000n), apply(1_001n)].map(String),
  );
  assert.equal((await one.register()).userId, String(apply(1_002n)));
});

test("accounts with an id of another kind stay valid", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userId, userName } = await one.register();
  const old = "42000000000000042";
  await pool.query(
    `INSERT INTO auth.account (user_id, user_name, user_name_key, display_name, password_hash)
     SELECT $2, 'veteran', 'veteran', 'veteran', password_hash
       FROM auth.account WHERE user_id = $1`,
    [userId, old],
  );
  const tokens = await one.login("veteran");
  const { users } = await one.users.batchGetUsers({ userIds: [old, userId] }, one.as(tokens));
  assert.deepEqual(
    users.map((user) => [user.userId, user.userName]),
    [
      [old, "veteran"],
      [userId, userName],
    ],
  );
});
