import assert from "node:assert/strict";
import { constants, createPublicKey, publicEncrypt, randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { hash } from "@node-rs/argon2";
import {
  DeviceClass,
  EncryptedPasswordSchema,
  type GetPublicKeyResponse,
  PasswordPlaintextSchema,
} from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { Metrics } from "#platform/metrics.ts";
import { sealPassword } from "../../../client/login/password.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { GOOD_PASSWORD, refused, startTestAuth, TEST_KEY } from "../auth.suite.ts";
import { authConfig } from "../config.ts";
import { openDatabase } from "../database.ts";
import { createKeyEncryption } from "../keys/key-encryption.ts";
import { createKeyring, type Keyring } from "../keys/keyring.ts";
import { generateKey } from "../keys/keys.ts";
import { createNonces } from "./nonces.ts";
import { createPasswords, decryptingKey } from "./passwords.ts";

const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { auth, clock } = one;
const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
const { userName } = await one.register();
const login = (password: { keyId: string; ciphertext: Uint8Array }) =>
  auth.login({ userName, password, device });
const invalid = (call: Promise<unknown>) => refused(call, ErrorReason.ENCRYPTION_INVALID);

/** Encrypts arbitrary bytes with the key, which a correct client never does. */
function encryptBytes(key: GetPublicKeyResponse, plain: Uint8Array) {
  const rsa = createPublicKey({ key: Buffer.from(key.spki), type: "spki", format: "der" });
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const ciphertext = publicEncrypt({ key: rsa, padding, oaepHash: "sha256" }, plain);
  return { keyId: key.keyId, ciphertext: new Uint8Array(ciphertext) };
}

test("GetPublicKey returns one key as SPKI and as JWK, a nonce of 40 bytes and the time", async () => {
  const key = await auth.getPublicKey({});
  assert.equal(key.algorithm, "RSA-OAEP-SHA256");
  const rsa = createPublicKey({ key: Buffer.from(key.spki), type: "spki", format: "der" });
  const { kid, alg, use, ...jwk } = JSON.parse(key.jwkJson);
  assert.deepEqual({ kid, alg, use }, { kid: key.keyId, alg: "RSA-OAEP-256", use: "enc" });
  assert.deepEqual(jwk, rsa.export({ format: "jwk" }));
  assert.equal(key.nonce.length, 40);
  assert.equal(key.serverTimeMs, BigInt(clock.now()));
  assert.equal(key.nonceExpiresAtMs, BigInt(clock.now() + 120_000));
  assert.notDeepEqual((await auth.getPublicKey({})).nonce, key.nonce);
});

test("every fault in the encryption gets the same error", async () => {
  const key = await auth.getPublicKey({});
  const good = await sealPassword(key, GOOD_PASSWORD);
  const flipped = good.ciphertext.slice();
  flipped[100]! ^= 1;
  await invalid(login({ keyId: "unknown", ciphertext: good.ciphertext }));
  for (const ciphertext of [flipped, new Uint8Array(256), new Uint8Array(300)])
    await invalid(login({ keyId: key.keyId, ciphertext }));
  // The password without nonce and timestamp, and bytes that cannot be decoded as a message.
  await invalid(login(encryptBytes(key, Buffer.from(GOOD_PASSWORD))));
  await invalid(login(encryptBytes(key, Buffer.from([0x0a, 0xff]))));
  await invalid(login(encryptBytes(key, new Uint8Array())));
  // None of these requests used up the nonce.
  await login(good);
});

test("a ciphertext is valid once, even when two instances race for it", async (t) => {
  const two = await startTestAuth({ url, t, clock });
  const password = await one.encrypt(GOOD_PASSWORD);
  const outcomes = await Promise.allSettled(
    [auth, two.auth, auth, two.auth].map((on) => on.login({ userName, password, device })),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  await invalid(login(password));
  await invalid(two.auth.login({ userName, password, device }));
});

test("a nonce is valid once, whatever password is encrypted with it", async () => {
  const key = await auth.getPublicKey({});
  await refused(login(await sealPassword(key, "wrong")), ErrorReason.CREDENTIALS_INVALID);
  await invalid(login(await sealPassword(key, GOOD_PASSWORD)));
});

test("a forged or modified nonce is refused", async () => {
  const key = await auth.getPublicKey({});
  const longer = key.nonce.slice();
  longer[16]! ^= 1;
  for (const nonce of [
    longer,
    randomBytes(40),
    new Uint8Array(40),
    key.nonce.subarray(0, 39),
    new Uint8Array(),
  ])
    await invalid(
      login(await sealPassword({ ...key, nonce: new Uint8Array(nonce) }, GOOD_PASSWORD)),
    );
});

test("a nonce and the encrypted timestamp are valid for two minutes", async () => {
  const late = await one.encrypt(GOOD_PASSWORD);
  clock.advance(119_999);
  await login(late);
  const tooLate = await one.encrypt(GOOD_PASSWORD);
  clock.advance(120_000);
  await invalid(login(tooLate));

  const at = async (offsetMs: number) => {
    const key = await auth.getPublicKey({});
    const encryptedAtMs = key.serverTimeMs + BigInt(offsetMs);
    const plain = create(PasswordPlaintextSchema, {
      nonce: key.nonce,
      encryptedAtMs,
      password: GOOD_PASSWORD,
    });
    return login(encryptBytes(key, toBinary(PasswordPlaintextSchema, plain)));
  };
  await invalid(at(-120_001));
  await at(-120_000);
  await at(30_000);
  await invalid(at(30_001));
});

test("a used nonce is deleted only when no instance can still accept it", async () => {
  const nonces = async () => Number((await pool.query(used)).rows[0].count);
  const used = "SELECT count(*) FROM auth.used_nonce";
  const keyring = await openKeyring();
  const database = openDatabase(pool);
  const config = { nonceSeconds: 120 };
  const own = createNonces({ config, database, keyring, clock });
  await pool.query("DELETE FROM auth.used_nonce");
  const { nonce } = own.issue();
  assert.equal(await own.use(nonce), true);
  await own.deleteExpired();
  assert.equal(await own.use(nonce), false);
  clock.advance(120_000);
  await own.deleteExpired();
  assert.equal(await nonces(), 1);
  clock.advance(3_600_001);
  await own.deleteExpired();
  assert.equal(await nonces(), 0);
  assert.equal(await own.use(nonce), false);
  await database.$disconnect();
});

test("the passwords of one request must share one nonce", async () => {
  const { passwords, key } = await passwordsOn(await openKeyring());
  const foreign = await Promise.all(["old one", "new one"].map((p) => sealed(key(), p)));
  await invalid(passwords.decrypt(...foreign));
  const same = key();
  const [old, fresh] = [await sealed(same, "old one"), await sealed(same, "new one")];
  assert.deepEqual(await passwords.decrypt(old, fresh), ["old one", "new one"]);
  await invalid(passwords.decrypt(undefined));
});

test("a replaced key decrypts during its grace period, and a new key at once", async () => {
  const ring = await openKeyring();
  const own = new ManualClock(clock.now());
  const { passwords, key } = await passwordsOn(ring, own);
  const before = ring.keys.password[0]!;
  const fresh = await generateKey("password", { passwordKeyBits: 2_048 });
  const successor = {
    keyId: "successor",
    activeAtMs: own.now() + 3_600_000,
    publicKey: createPublicKey({ key: Buffer.from(fresh.publicKey!), type: "spki", format: "der" }),
    privateKey: before.privateKey,
  };
  ring.keys = { ...ring.keys, password: [successor, before] };
  const graceMs = defaultsOf(authConfig).passwordKeyGraceSeconds * 1_000;
  const decrypted = async () => passwords.decrypt(await sealed(key(), "a password"));
  assert.deepEqual(await decrypted(), ["a password"]);
  own.advance(3_600_000 + graceMs - 1);
  assert.deepEqual(await decrypted(), ["a password"]);
  own.advance(1);
  await invalid(decrypted());

  const keys = [successor, before];
  const found = (keyId: string, nowMs: number) =>
    decryptingKey(keys, keyId, { nowMs, graceMs: 10 })?.keyId;
  assert.equal(found("successor", 0), "successor");
  assert.equal(found(before.keyId, successor.activeAtMs + 9), before.keyId);
  assert.equal(found(before.keyId, successor.activeAtMs + 10), undefined);
  assert.equal(found("nobody's", 0), undefined);
});

test("a hash with other parameters than the configured ones needs a rehash", async () => {
  const { passwords } = await passwordsOn(await openKeyring());
  const cost = { memoryCost: 8_192, timeCost: 1, parallelism: 2 };
  assert.equal(passwords.needsRehash(await passwords.hash("a password")), false);
  assert.equal(passwords.needsRehash(await hash("a password", cost)), false);
  for (const other of [{ memoryCost: 8_193 }, { timeCost: 2 }, { parallelism: 1 }])
    assert.equal(passwords.needsRehash(await hash("a password", { ...cost, ...other })), true);
  assert.equal(
    await passwords.verify(await hash("a password", { timeCost: 3 }), "a password"),
    true,
  );
});

test("a client refuses a password that is too long for the key", async () => {
  const key = await auth.getPublicKey({});
  await sealPassword(key, "x".repeat(130));
  await assert.rejects(sealPassword(key, "x".repeat(150)), /too long/);
});

const sealed = async (key: GetPublicKeyResponse, password: string) =>
  create(EncryptedPasswordSchema, await sealPassword(key, password));

const config = {
  ...defaultsOf(authConfig),
  hashMemoryKib: 8_192,
  hashIterations: 1,
  hashParallelism: 2,
  passwordKeyBits: 2_048,
};

/** A keyring whose keys the test can replace. */
async function openKeyring(): Promise<{ -readonly [K in keyof Keyring]: Keyring[K] }> {
  const database = openDatabase(pool);
  const ring = await createKeyring({
    config,
    database,
    keyEncryption: createKeyEncryption(TEST_KEY),
    clock,
  });
  await database.$disconnect();
  const { keys, onChange, rotate, reloadIfChanged, reloadIfStale } = ring;
  return { keys, onChange, rotate, reloadIfChanged, reloadIfStale };
}

async function passwordsOn(keyring: Keyring, own = clock) {
  const database = openDatabase(pool);
  const nonces = createNonces({ config, database, keyring, clock: own });
  const metrics = new Metrics();
  const passwords = await createPasswords({ config, keyring, nonces, clock: own, metrics });
  const { keyId, publicKey } = keyring.keys.password[0]!;
  const key = () =>
    ({
      keyId,
      spki: new Uint8Array(publicKey.export({ type: "spki", format: "der" })),
      nonce: nonces.issue().nonce,
      serverTimeMs: BigInt(own.now()),
    }) as GetPublicKeyResponse;
  return { passwords, key };
}
