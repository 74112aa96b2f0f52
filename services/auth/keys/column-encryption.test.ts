import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createCodes } from "./codes.ts";
import { createColumnEncryption } from "./column-encryption.ts";
import type { Keyring } from "./keyring.ts";
import { KEY_ID_BYTES, type Keys, keyIdBytes, type SecretKey } from "./keys.ts";

const clock = new ManualClock();

const fresh = (activeAtMs: number): SecretKey => ({
  keyId: randomUUID(),
  secret: randomBytes(32),
  activeAtMs,
});

/** A keyring with one key of each symmetric kind. Tests can add newer keys. */
function ring() {
  const one = () => [fresh(clock.now())];
  const keys = { access: [], password: [], userId: [], data: one(), index: one(), code: one() };
  const add = (purpose: "data" | "index" | "code", key: SecretKey) => keys[purpose].unshift(key);
  const keyring: Keyring = {
    keys: keys as Keys,
    onChange() {},
    rotate: async () => {},
    reloadIfChanged: async () => {},
    reloadIfStale: async () => {},
  };
  return { keys, keyring, add };
}

const cell = { column: "account.phone", row: "42" };
const PHONE = "+4915112345678";

test("an encrypted value can be decrypted only in its own cell", () => {
  const columns = createColumnEncryption({ keyring: ring().keyring, clock });
  const encrypted = columns.encrypt(PHONE, cell);
  assert.equal(columns.decrypt(encrypted, cell), PHONE);
  assert.ok(!Buffer.from(encrypted).includes(PHONE));
  assert.notDeepEqual(columns.encrypt(PHONE, cell), encrypted);
  assert.throws(() => columns.decrypt(encrypted, { ...cell, row: "43" }));
  assert.throws(() => columns.decrypt(encrypted, { ...cell, column: "account.location" }));
  const corrupted = Uint8Array.from(encrypted);
  corrupted[corrupted.length - 1]! ^= 1;
  assert.throws(() => columns.decrypt(corrupted, cell));
});

test("a truncated or extended value cannot be decrypted, nor can a value with a short tag", () => {
  const { keyring } = ring();
  const columns = createColumnEncryption({ keyring, clock });
  const cell = { column: "account.phone", row: "1" };
  const encrypted = columns.encrypt(PHONE, cell);
  for (let length = 0; length < encrypted.length; length += 1)
    assert.throws(() => columns.decrypt(encrypted.subarray(0, length), cell), `${length} bytes`);
  assert.throws(() => columns.decrypt(Buffer.concat([encrypted, Buffer.alloc(1)]), cell));
});

test("after a rotation old values can be decrypted and are reported as not current", () => {
  const { keyring, keys, add } = ring();
  const columns = createColumnEncryption({ keyring, clock });
  const encrypted = columns.encrypt(PHONE, cell);
  assert.ok(columns.isCurrent(encrypted));
  add("data", fresh(clock.now() + 1_000));
  assert.ok(
    columns.isCurrent(columns.encrypt(PHONE, cell)),
    "a key that is not active yet is not used",
  );
  assert.ok(columns.isCurrent(encrypted));
  clock.advance(1_000);
  assert.ok(!columns.isCurrent(encrypted));
  assert.equal(columns.decrypt(encrypted, cell), PHONE);
  assert.ok(columns.isCurrent(columns.encrypt(PHONE, cell)));
  keys.data.pop();
  assert.throws(() => columns.decrypt(encrypted, cell), /data key of account.phone does not exist/);
});

test("a blind index is deterministic per value and column, and look-ups include older keys", () => {
  const { keyring, keys, add } = ring();
  const columns = createColumnEncryption({ keyring, clock });
  const index = columns.blindIndex(PHONE, "account.phone");
  assert.equal(index.length, KEY_ID_BYTES + 32);
  assert.deepEqual(Buffer.from(index.subarray(0, KEY_ID_BYTES)), keyIdBytes(keys.index[0]!.keyId));
  assert.deepEqual(columns.blindIndex(PHONE, "account.phone"), index);
  assert.notDeepEqual(columns.blindIndex(PHONE, "account.other"), index);
  add("index", fresh(clock.now()));
  assert.notDeepEqual(columns.blindIndex(PHONE, "account.phone"), index);
  const [first, second] = columns.blindIndexes(PHONE, "account.phone");
  assert.deepEqual(first, columns.blindIndex(PHONE, "account.phone"));
  assert.deepEqual(second, index);
});

test("a code matches its hash only in the same context, also after a rotation", () => {
  const { keyring, keys, add } = ring();
  const codes = createCodes({ keyring, clock });
  const code = codes.make();
  assert.match(code, /^\d{6}$/);
  const hash = codes.hash(code, "login one");
  assert.ok(codes.matches(hash, code, "login one"));
  assert.ok(!codes.matches(hash, code, "login two"));
  assert.ok(!codes.matches(hash, code === "000000" ? "000001" : "000000", "login one"));
  assert.ok(!Buffer.from(hash).includes(code));
  add("code", fresh(clock.now()));
  assert.ok(codes.matches(hash, code, "login one"));
  keys.code.pop();
  assert.ok(!codes.matches(hash, code, "login one"));
});
