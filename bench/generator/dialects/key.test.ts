import assert from "node:assert/strict";
import { test } from "node:test";
import { KEY_BYTES, type MessageKey, readKey, writeKey } from "./key.ts";

const written = (key: MessageKey, at = 0) => {
  const bytes = Buffer.alloc(KEY_BYTES + at + 3, "#");
  writeKey(bytes, at, key);
  return bytes;
};

test("a written key is read back, and the bytes around it stay unchanged", () => {
  const keys: MessageKey[] = [
    { timeUs: 0, user: 0, number: 0 },
    { timeUs: 1_795_449_600_123_456, user: 9_999, number: 1_000_000 },
    { timeUs: 2 ** 51 - 1, user: 2 ** 24 - 1, number: 2 ** 32 - 1 },
  ];
  for (const key of keys) {
    const bytes = written(key, 5);
    assert.match(bytes.toString("latin1"), /^#{5}[0-9a-f]{13}-[0-9a-f]{6}-[0-9a-f]{8}#{3}$/);
    const back: MessageKey = { timeUs: -1, user: -1, number: -1 };
    assert.ok(readKey(bytes, 5, back));
    assert.deepEqual(back, key);
  }
});

test("keys grow with time", () => {
  const times = [1_795_449_600_000_000, 1_795_449_600_000_001, 1_795_453_200_000_000];
  const texts = times.map((timeUs, user) => written({ timeUs, user: 9 - user, number: 0 }));
  assert.deepEqual(texts.toSorted(Buffer.compare), texts);
});

test("a text that is not a key is not read", () => {
  const key: MessageKey = { timeUs: 1, user: 2, number: 3 };
  assert.equal(readKey(Buffer.from("0190a5f0-7e1c-7cc3-98c4-dc0c0c"), 0, key), false);
  assert.deepEqual(key, { timeUs: 1, user: 2, number: 3 });
});
