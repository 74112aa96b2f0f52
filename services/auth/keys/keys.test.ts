import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { GOOD_PASSWORD, startTestAuth, TEST_KEY } from "../auth.suite.ts";
import { createKeyEncryption } from "./key-encryption.ts";
import { loadOrCreateKey } from "./key-file.ts";

const { url, pool } = await startTestPostgres({ after });
beforeEach(() => pool.query("DELETE FROM auth.key"));

test("instances that start at the same time share their keys and accept each other's tokens", async (t) => {
  const clock = new ManualClock();
  const [one, two] = await Promise.all([
    startTestAuth({ url, t, clock }),
    startTestAuth({ url, t, clock }),
  ]);
  const [{ keyId, spki }, other] = [
    await one.auth.getPublicKey({}),
    await two.auth.getPublicKey({}),
  ];
  assert.deepEqual({ keyId, spki }, { keyId: other.keyId, spki: other.spki });
  assert.deepEqual(await one.auth.getJwks({}), await two.auth.getJwks({}));
  assert.equal((await pool.query("SELECT count(*) FROM auth.key")).rows[0].count, "6");

  const userName = "shared";
  await one.auth.register({ userName, password: await two.encrypt(GOOD_PASSWORD) });
  const tokens = await two.login(userName);
  await one.verifier.verify(tokens.accessToken);
  await one.auth.refresh({ refreshToken: tokens.refreshToken });
});

test("keys survive a restart; another key-encryption key is refused with a clear error", async (t) => {
  const first = await startTestAuth({ url, t });
  const restarted = await startTestAuth({ url, t });
  assert.deepEqual(await restarted.auth.getJwks({}), await first.auth.getJwks({}));
  const other = randomBytes(32).toString("base64");
  await assert.rejects(
    startTestAuth({ url, t, config: { keyEncryptionKey: other } }),
    /stored under another key-encryption key \(LUCKY_AUTH_KEY_ENCRYPTION_KEY\)/,
  );
  // A private key that was copied to another row does not decrypt.
  await pool.query(`UPDATE auth.key SET private_key = other.private_key
    FROM auth.key other WHERE auth.key.purpose = 'access' AND other.purpose = 'password'`);
  await assert.rejects(startTestAuth({ url, t }), /another key-encryption key/);
});

test("auth does not start without a key-encryption key or with a short one", async (t) => {
  for (const [keyEncryptionKey, complaint] of [
    ["", /LUCKY_AUTH_KEY_ENCRYPTION_KEY.*it is missing/],
    [TEST_KEY.slice(0, 20), /must be 32 bytes in base64; it has/],
  ] as const)
    await assert.rejects(startTestAuth({ url, t, config: { keyEncryptionKey } }), complaint);
});

test("private keys are stored encrypted, public keys in plain", async (t) => {
  const { auth } = await startTestAuth({ url, t });
  const { rows } = await pool.query("SELECT purpose, public_key, private_key FROM auth.key");
  const password = rows.find(({ purpose }) => purpose === "password");
  assert.deepEqual(new Uint8Array(password.public_key), (await auth.getPublicKey({})).spki);
  // PKCS#8 names its algorithm by this object identifier.
  const rsa = Buffer.from("2a864886f70d010101", "hex");
  assert.ok(password.public_key.includes(rsa));
  assert.ok(!password.private_key.includes(rsa));
  const { keys } = JSON.parse((await auth.getJwks({})).jwksJson);
  assert.deepEqual(Object.keys(keys[0]).toSorted(), ["alg", "crv", "kid", "kty", "use", "x"]);
});

test("an encrypted secret decrypts only with the same key and the same additional data", () => {
  const keyEncryption = createKeyEncryption(TEST_KEY);
  const encrypted = keyEncryption.encrypt(Buffer.from("secret"), "a");
  assert.equal(keyEncryption.decrypt(encrypted, "a").toString(), "secret");
  assert.throws(() => keyEncryption.decrypt(encrypted, "b"));
  assert.throws(() =>
    createKeyEncryption(randomBytes(32).toString("base64")).decrypt(encrypted, "a"),
  );
  assert.throws(() => keyEncryption.decrypt(encrypted.subarray(0, 20), "a"));
  assert.notDeepEqual(keyEncryption.encrypt(Buffer.from("secret"), "a"), encrypted);
});

test("concurrent processes create one key file, with mode 0600", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "lucky-key-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "keys", "key-encryption-key");
  const keys = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateKey(path)));
  assert.equal(new Set(keys).size, 1);
  assert.equal(Buffer.from(keys[0]!, "base64").length, 32);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal(await loadOrCreateKey(path), keys[0]);
  assert.equal((await readFile(path, "utf8")).trim(), keys[0]);
});
