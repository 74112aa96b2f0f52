import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, beforeEach, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { refused, startTestAuth, TEST_KEY } from "../auth.suite.ts";
import { type AuthConfig, authConfig } from "../config.ts";
import { openDatabase } from "../database.ts";
import { createAccessTokens } from "../logins/tokens.ts";
import { createKeyEncryption } from "./key-encryption.ts";
import { createKeyring } from "./keyring.ts";
import { activeKey } from "./keys.ts";

const { url, pool } = await startTestPostgres({ after });
beforeEach(() => pool.query("DELETE FROM auth.key"));
const database = openDatabase(pool);

const DAY = 86_400_000;
const HOUR = 3_600_000;

/** The keyring of one instance. */
function keyringOf(
  clock: ManualClock,
  { key = TEST_KEY, before = "", over = {}, database: given = database } = {},
) {
  const config: AuthConfig = { ...defaultsOf(authConfig), passwordKeyBits: 2_048, ...over };
  return createKeyring({
    config,
    database: given,
    keyEncryption: createKeyEncryption(key, before),
    clock,
  });
}

const kidOf = (token: string): string =>
  JSON.parse(Buffer.from(token.split(".")[0]!, "base64url").toString()).kid;

test("a new key is published before it signs; the old one stays until its tokens have expired", async () => {
  const clock = new ManualClock();
  const config = { ...defaultsOf(authConfig), passwordKeyBits: 2_048 };
  const [one, two] = [await keyringOf(clock), await keyringOf(clock)];
  const tokens = await createAccessTokens({ config, keyring: one, clock });
  const subject = { userId: "1", loginId: "l", deviceId: "d", deviceClass: 1, role: "user" };
  const signer = async () => kidOf(await tokens.sign(subject, tokens.expiryMs()));
  const published = () =>
    JSON.parse(tokens.jwksJson).keys.map(({ kid }: { kid: string }) => kid) as string[];
  const old = await signer();

  clock.advance(90 * DAY);
  await Promise.all([one.rotate(), two.rotate()]);
  await one.rotate();
  assert.equal(published().length, 2);
  assert.deepEqual(
    one.keys.access.map(({ keyId }) => keyId),
    two.keys.access.map(({ keyId }) => keyId),
  );
  assert.equal(await signer(), old);
  clock.advance(HOUR);
  const fresh = await signer();
  assert.notEqual(fresh, old);
  assert.ok(published().includes(fresh));

  clock.advance(900_000);
  await one.rotate();
  assert.deepEqual(published(), [fresh, old]);
  clock.advance(60_000);
  await one.rotate();
  assert.deepEqual(published(), [fresh]);
});

test("tokens and passwords stay valid across a rotation, also on an instance that created no key", async (t) => {
  const clock = new ManualClock();
  const config = { keyRotationDays: 1, keyRefreshSeconds: 60 };
  const one = await startTestAuth({ url, t, clock, config });
  const { userName } = await one.register();
  const tokens = await one.login(userName);
  const rotating = await keyringOf(clock, { over: { keyRotationDays: 1 } });
  clock.advance(DAY - HOUR - 60_000);
  const late = (await one.auth.refresh({ refreshToken: tokens.refreshToken })).tokens!;
  clock.advance(HOUR + 60_000);
  await rotating.rotate();
  clock.advance(HOUR);
  await rotating.rotate();
  const kid = activeKey(rotating.keys.access, clock.now()).keyId;
  assert.notEqual(kidOf(late.accessToken), kid);
  const second = await startTestAuth({ url, t, clock, config });
  const next = (await second.auth.refresh({ refreshToken: late.refreshToken })).tokens!;
  assert.equal(kidOf(next.accessToken), kid);
  await second.verifier.verify(next.accessToken);
  await second.login(userName, "laptop");
});

test("an instance refuses a token of a deleted key that it never loaded", async (t) => {
  const clock = new ManualClock();
  const one = await startTestAuth({ url, t, clock });
  const tokens = await one.login((await one.register()).userName);
  await pool.query("DELETE FROM auth.key WHERE purpose = 'access'");
  const second = await startTestAuth({ url, t, clock });
  await refused(second.verifier.verify(tokens.accessToken), ErrorReason.TOKEN_INVALID);
});

test("keys are re-encrypted under a new key-encryption key, and the old one is no longer needed", async () => {
  const clock = new ManualClock();
  const next = randomBytes(32).toString("base64");
  const old = await keyringOf(clock);
  const changing = await keyringOf(clock, { key: next, before: TEST_KEY });
  assert.deepEqual(idsOf(changing), idsOf(old));
  const changed = await keyringOf(clock, { key: next });
  assert.deepEqual(idsOf(changed), idsOf(old));
  assert.deepEqual(changed.keys.data[0]!.secret, old.keys.data[0]!.secret);
  await assert.rejects(keyringOf(clock), /another key-encryption key/);
});

test("while the database cannot be reached the cached keys stay in use", async () => {
  const clock = new ManualClock();
  const keyring = await keyringOf(clock);
  const before = keyring.keys;
  const changes: string[] = [];
  keyring.onChange(() => void changes.push("changed"));
  await pool.query("ALTER TABLE auth.key RENAME TO key_away");
  await assert.rejects(keyring.rotate());
  await pool.query("ALTER TABLE auth.key_away RENAME TO key");
  assert.equal(keyring.keys, before);
  await keyring.rotate();
  assert.deepEqual(changes, []);
  clock.advance(90 * DAY);
  await keyring.rotate();
  assert.deepEqual(changes, ["changed"]);
});

function idsOf({ keys }: Awaited<ReturnType<typeof keyringOf>>): string[] {
  return Object.values(keys)
    .flat()
    .map(({ keyId }) => keyId);
}

test("a manually deleted key is replaced on every instance at the next check", async () => {
  const clock = new ManualClock();
  const [one, two] = [await keyringOf(clock), await keyringOf(clock)];
  const before = activeKey(one.keys.access, clock.now()).keyId;
  await one.reloadIfChanged();
  assert.equal(activeKey(one.keys.access, clock.now()).keyId, before);
  await pool.query("DELETE FROM auth.key WHERE purpose = 'access'");
  await Promise.all([one.reloadIfChanged(), two.reloadIfChanged(), one.reloadIfChanged()]);
  const ids = [one, two].map(({ keys }) => keys.access.map(({ keyId }) => keyId));
  assert.equal(ids[0]!.length, 1);
  assert.notEqual(ids[0]![0], before);
  assert.deepEqual(ids[0], ids[1]);
  assert.equal(activeKey(two.keys.access, clock.now()).keyId, ids[0]![0]);
});

test("given the stored key ids, the keyring reloads only if they differ from its cache", async () => {
  const clock = new ManualClock();
  const ring = await keyringOf(clock);
  const changes: string[] = [];
  ring.onChange(() => void changes.push("changed"));
  const before = idsOf(ring);
  await ring.reloadIfStale(before.toReversed());
  assert.deepEqual(changes, []);
  await pool.query("DELETE FROM auth.key WHERE purpose = 'access'");
  await ring.reloadIfStale(before);
  assert.deepEqual(changes, []);
  const { rows } = await pool.query("SELECT key_id FROM auth.key");
  await ring.reloadIfStale(rows.map(({ key_id }) => key_id));
  assert.deepEqual(changes, ["changed"]);
  assert.notDeepEqual(idsOf(ring), before);
});

test("concurrent checks load the keys one at a time", async () => {
  const clock = new ManualClock();
  let reading = 0;
  let most = 0;
  const counted = database.$extends({
    query: {
      key: {
        async findMany({ args, query }) {
          reading++;
          most = Math.max(most, reading);
          try {
            return await query(args);
          } finally {
            reading--;
          }
        },
      },
    },
  });
  const ring = await keyringOf(clock, { database: counted as unknown as typeof database });
  most = 0;
  await Promise.all(Array.from({ length: 5 }, () => ring.reloadIfStale(["another"])));
  assert.equal(most, 1);
});

test("listRevocations returns the key ids in the database, not stale cached ones", async (t) => {
  const one = await startTestAuth({ url, t });
  const keyIds = async () => (await one.sessions.listRevocations({})).accessKeyIds;
  const before = await keyIds();
  await pool.query("DELETE FROM auth.key WHERE purpose = 'access'");
  const after = await keyIds();
  assert.equal(after.length, 1);
  assert.ok(!before.includes(after[0]!));
  const tokens = await one.login((await one.register()).userName);
  assert.equal(kidOf(tokens.accessToken), after[0]);
});
