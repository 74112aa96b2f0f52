import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { defaultsOf } from "#platform/config/config.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createAccounts } from "../accounts/accounts.ts";
import { cellOf, ENCRYPTED_COLUMNS } from "../accounts/shown-profile.ts";
import { authConfig } from "../config.ts";
import { openDatabase } from "../database.ts";
import { createColumnEncryption } from "../keys/column-encryption.ts";
import type { Keyring } from "../keys/keyring.ts";
import { KEY_ID_BYTES, type Keys, keyIdBytes, type SecretKey } from "../keys/keys.ts";
import { reencrypt } from "./reencryption.ts";

const { pool } = await startTestPostgres({ after });
const config = { ...defaultsOf(authConfig), sealAgainRows: 3 };
const database = openDatabase(pool);
after(() => database.$disconnect());

type Purpose = "data" | "index";

/**
 * A keyring with keys that a test rotates. The keys have database rows, so that they can be
 * retired.
 */
async function setUp() {
  await pool.query("TRUNCATE auth.account, auth.key, auth.sms_code CASCADE");
  const clock = new ManualClock();
  const lists = { data: [] as SecretKey[], index: [] as SecretKey[] };
  const keys = { access: [], password: [], code: [], userId: [], ...lists } as Keys;
  const noop = async () => {};
  const keyring: Keyring = {
    keys,
    onChange() {},
    rotate: noop,
    reloadIfChanged: noop,
    reloadIfStale: noop,
  };
  const columns = createColumnEncryption({ keyring, clock });
  const accounts = createAccounts({ database, columns });
  const d = { clock, columns, config, database, keyring, log: quiet };

  async function rotate(purpose: Purpose, aheadMs = 0) {
    const activeAtMs = clock.now() + aheadMs;
    const key = { keyId: randomUUID(), secret: randomBytes(32), activeAtMs };
    lists[purpose].unshift(key);
    const at = new Date(activeAtMs);
    const { keyId } = key;
    const data = { keyId, purpose, privateKey: new Uint8Array(1), createdAt: at, activeAt: at };
    await database.key.create({ data });
    return key;
  }
  const seal = (column: (typeof ENCRYPTED_COLUMNS)[number], userId: number, text: string) =>
    columns.encrypt(text, cellOf(column, BigInt(userId)));
  const phoneOf = (userId: number) => `+49151123456${userId}`;

  return {
    ...d,
    accounts,
    rotate,
    seal,
    phoneOf,
    async account(userId: number) {
      await accounts.create({
        userId: BigInt(userId),
        userName: `number ${"abcdefghijklmnopqrstuvwxyz"[userId - 10]}`,
        displayName: "x",
        phone: seal("phone", userId, phoneOf(userId)),
        phoneIndex: columns.blindIndex(phoneOf(userId), "account.phone"),
        birthday: seal("birthday", userId, "1990-05-17"),
        location: seal("location", userId, `town ${userId}`),
        addAnswer: seal("addAnswer", userId, `answer ${userId}`),
      });
    },
    row: (userId: number) =>
      database.account.findUniqueOrThrow({ where: { userId: BigInt(userId) } }),
    async retired() {
      const rows = await database.key.findMany({ where: { retiredAt: { not: null } } });
      return rows.map(({ keyId }) => keyId);
    },
    settle: () => clock.advance(config.keyRefreshSeconds * 1_000 + 60_000),
  };
}

test("with one key per purpose nothing is re-encrypted", async () => {
  const one = await setUp();
  await one.rotate("data");
  await one.rotate("index");
  await one.account(10);
  const before = await one.row(10);
  assert.equal(await reencrypt(one), 0);
  assert.deepEqual(await one.row(10), before);
  assert.deepEqual(await one.retired(), []);
});

test("a successor key that is not active yet changes nothing", async () => {
  const one = await setUp();
  await one.rotate("data");
  await one.rotate("index");
  await one.account(10);
  const before = await one.row(10);
  await one.rotate("data", 3_600_000);
  await one.rotate("index", 3_600_000);
  assert.equal(await reencrypt(one), 0);
  assert.deepEqual(await one.row(10), before);
});

test("all rows are re-encrypted in bounded steps, then the old keys are retired", async () => {
  const one = await setUp();
  const oldData = await one.rotate("data");
  const oldIndex = await one.rotate("index");
  for (let userId = 10; userId < 17; userId++) await one.account(userId);
  const newData = await one.rotate("data");
  const newIndex = await one.rotate("index");
  const steps: number[] = [];
  do steps.push(await reencrypt(one));
  while (steps.at(-1) !== 0);
  assert.deepEqual(steps, [3, 3, 1, 0]);

  for (let userId = 10; userId < 17; userId++) {
    const row = await one.row(userId);
    for (const column of ENCRYPTED_COLUMNS) {
      const under = Buffer.from(row[column]!.subarray(0, KEY_ID_BYTES));
      assert.deepEqual(under, keyIdBytes(newData.keyId), column);
    }
    const under = Buffer.from(row.phoneIndex!.subarray(0, KEY_ID_BYTES));
    assert.deepEqual(under, keyIdBytes(newIndex.keyId));
    const opened = ENCRYPTED_COLUMNS.map((column) =>
      one.columns.decrypt(row[column]!, cellOf(column, row.userId)),
    );
    const phone = one.phoneOf(userId);
    assert.deepEqual(opened, [phone, "1990-05-17", `town ${userId}`, `answer ${userId}`]);
    assert.equal((await one.accounts.byPhone(phone))?.userId, BigInt(userId));
  }
  assert.deepEqual(await one.retired(), [], "another instance may still use the old keys");
  one.settle();
  assert.equal(await reencrypt(one), 0);
  assert.deepEqual((await one.retired()).sort(), [oldData.keyId, oldIndex.keyId].sort());
});

test("a concurrent change is not overwritten", async () => {
  const one = await setUp();
  await one.rotate("data");
  await one.rotate("index");
  await one.account(10);
  await one.rotate("data");
  const changed = one.seal("location", 10, "a newer town");
  const database = one.database.$extends({
    query: {
      account: {
        // Another device wins the race: it writes after the read and before the update.
        async updateMany({ args, query }) {
          await pool.query("UPDATE auth.account SET location = $1 WHERE user_id = 10", [changed]);
          return query(args);
        },
      },
    },
  });
  await reencrypt({ ...one, database: database as never });
  const { location } = await one.row(10);
  assert.deepEqual(location, changed);
  assert.equal(await reencrypt(one), 1, "the next step re-encrypts the rest of the row");
  assert.equal(await reencrypt(one), 0);
  assert.deepEqual((await one.row(10)).location, changed);
});

test("concurrent re-encryption by several instances does no harm", async () => {
  const one = await setUp();
  await one.rotate("data");
  await one.rotate("index");
  for (let userId = 10; userId < 16; userId++) await one.account(userId);
  await one.rotate("data");
  await one.rotate("index");
  const all = async () => {
    while ((await reencrypt(one)) > 0);
  };
  await Promise.all([all(), all(), all()]);
  for (let userId = 10; userId < 16; userId++) {
    const row = await one.row(userId);
    assert.equal(one.columns.decrypt(row.phone!, cellOf("phone", row.userId)), one.phoneOf(userId));
    assert.ok(ENCRYPTED_COLUMNS.every((column) => one.columns.isCurrent(row[column]!)));
  }
});

test("a row that fails to decrypt keeps its key from retiring but does not block other rows", async () => {
  const one = await setUp();
  await one.rotate("data");
  await one.rotate("index");
  await one.account(10);
  await one.account(11);
  // A value that was copied from another row.
  const data = { location: one.seal("location", 99, "elsewhere") };
  await one.database.account.update({ where: { userId: 10n }, data });
  await one.rotate("data");
  assert.equal(await reencrypt(one), 2);
  assert.equal(await reencrypt(one), 1);
  one.settle();
  assert.equal(await reencrypt(one), 1);
  assert.deepEqual(await one.retired(), []);
  assert.ok(one.columns.isCurrent((await one.row(11)).location!));
});

test("a whole batch of rows that fail to decrypt does not block other rows", async () => {
  const one = await setUp();
  await one.rotate("data");
  await one.rotate("index");
  for (let userId = 10; userId < 18; userId += 1) {
    await one.account(userId);
    // More rows than one batch, all before the good row.
    const data = { location: one.seal("location", 99, "elsewhere") };
    if (userId < 17) await one.database.account.update({ where: { userId }, data });
  }
  await one.rotate("data");
  await reencrypt(one);
  assert.ok(one.columns.isCurrent((await one.row(17)).location!));
});

test("an index key is not retired while SMS codes use it", async () => {
  const one = await setUp();
  await one.rotate("data");
  const old = await one.rotate("index");
  const at = new Date(one.clock.now());
  const code = {
    smsCodeId: randomUUID(),
    phoneIndex: one.columns.blindIndex(one.phoneOf(10), "account.phone"),
    purpose: 1,
    codeHash: new Uint8Array(48),
    createdAt: at,
    expiresAt: at,
  };
  await database.smsCode.create({ data: code });
  await one.rotate("index");
  one.settle();
  await reencrypt(one);
  assert.deepEqual(await one.retired(), []);
  await database.smsCode.deleteMany();
  await reencrypt(one);
  assert.deepEqual(await one.retired(), [old.keyId]);
});

test("null columns stay null", async () => {
  const one = await setUp();
  await one.rotate("data");
  await one.rotate("index");
  await one.accounts.create({ userId: 10n, userName: "bare", displayName: "x" });
  await one.rotate("data");
  await one.rotate("index");
  assert.equal(await reencrypt(one), 0);
  assert.equal((await one.row(10)).phone, null);
});
