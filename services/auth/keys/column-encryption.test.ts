import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import { HandClock } from "../../../test/clock.ts";
import { createCodes } from "./codes.ts";
import { createColumnEncryption } from "./column-encryption.ts";
import type { Keyring } from "./keyring.ts";
import { KEY_ID_BYTES, type Keys, keyIdBytes, type SecretKey } from "./keys.ts";

const clock = new HandClock();

const fresh = (activeAtMs: number): SecretKey => ({
  keyId: randomUUID(),
  secret: randomBytes(32),
  activeAtMs,
});

/** A ring that holds one key of each symmetric kind, and more when a test adds them. */
function ring() {
  const one = () => [fresh(clock.now())];
  const keys = { access: [], password: [], data: one(), index: one(), code: one() };
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

const place = { column: "account.phone", row: "42" };
const PHONE = "+4915112345678";

test("a sealed value opens in its place and nowhere else", () => {
  const columns = createColumnEncryption({ keyring: ring().keyring, clock });
  const sealed = columns.encrypt(PHONE, place);
  assert.equal(columns.decrypt(sealed, place), PHONE);
  assert.ok(!Buffer.from(sealed).includes(PHONE));
  assert.notDeepEqual(columns.encrypt(PHONE, place), sealed);
  assert.throws(() => columns.decrypt(sealed, { ...place, row: "43" }));
  assert.throws(() => columns.decrypt(sealed, { ...place, column: "account.location" }));
  const bent = Uint8Array.from(sealed);
  bent[bent.length - 1]! ^= 1;
  assert.throws(() => columns.decrypt(bent, place));
});

test("a value that was cut or lengthened does not open, nor does one with a short tag", () => {
  const { keyring } = ring();
  const columns = createColumnEncryption({ keyring, clock });
  const place = { column: "account.phone", row: "1" };
  const sealed = columns.encrypt(PHONE, place);
  for (let length = 0; length < sealed.length; length += 1)
    assert.throws(() => columns.decrypt(sealed.subarray(0, length), place), `${length} bytes`);
  assert.throws(() => columns.decrypt(Buffer.concat([sealed, Buffer.alloc(1)]), place));
});

test("after a rotation old values open, and say that they are to be sealed again", () => {
  const { keyring, keys, add } = ring();
  const columns = createColumnEncryption({ keyring, clock });
  const sealed = columns.encrypt(PHONE, place);
  assert.ok(columns.isCurrent(sealed));
  add("data", fresh(clock.now() + 1_000));
  assert.ok(columns.isCurrent(columns.encrypt(PHONE, place)), "a key that is not active yet waits");
  assert.ok(columns.isCurrent(sealed));
  clock.advance(1_000);
  assert.ok(!columns.isCurrent(sealed));
  assert.equal(columns.decrypt(sealed, place), PHONE);
  assert.ok(columns.isCurrent(columns.encrypt(PHONE, place)));
  keys.data.pop();
  assert.throws(() => columns.decrypt(sealed, place), /data key of account.phone is not there/);
});

test("an index is the same for a value and a column, and found under older keys too", () => {
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

test("a code matches its hash in its context only, also after a rotation", () => {
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
