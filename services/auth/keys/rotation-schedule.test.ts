import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultsOf } from "#platform/config/config.ts";
import { authConfig } from "../config.ts";
import { type KeyTimes, scheduleRotation } from "./rotation-schedule.ts";

const config = defaultsOf(authConfig);
const DAY = 86_400_000;
const startMs = Date.UTC(2026, 0, 1);
const day90Ms = startMs + 90 * DAY;
const HOUR = 3_600_000;

const key = (purpose: string, activeMs: number, retiredMs?: number): KeyTimes => ({
  keyId: `${purpose} ${activeMs - startMs}`,
  purpose,
  activeAt: new Date(activeMs),
  retiredAt: retiredMs === undefined ? null : new Date(retiredMs),
});
/** Purposes whose keys rotate. */
const PURPOSES = ["access", "password", "data", "index", "code"];
const first = [...PURPOSES, "userId"].map((purpose) => key(purpose, startMs));
const created = (rows: readonly KeyTimes[], nowMs: number, over = {}) =>
  scheduleRotation(rows, { ...config, ...over }, nowMs).create.map(({ purpose, activeAt }) => [
    purpose,
    activeAt.getTime() - nowMs,
  ]);

test("a purpose without a key gets one that is active immediately", () => {
  assert.deepEqual(
    created([], startMs),
    [...PURPOSES, "userId"].map((purpose) => [purpose, 0]),
  );
  assert.deepEqual(created(first.slice(1), startMs), [["access", 0]]);
});

test("a key that is due gets one successor, published ahead of its activation", () => {
  assert.deepEqual(created(first, day90Ms - 1), []);
  assert.deepEqual(
    created(first, day90Ms),
    PURPOSES.map((purpose) => [purpose, HOUR]),
  );
  const successors = PURPOSES.map((purpose) => key(purpose, day90Ms + HOUR));
  assert.deepEqual(created([...first, ...successors], day90Ms + 1), []);
  assert.deepEqual(created(first, day90Ms, { keyRotationDays: 0 }), []);
  // The publish-ahead time is at least two reload intervals, even if it is configured shorter.
  const [short] = created(first, day90Ms, { keyPublishAheadSeconds: 0, keyRefreshSeconds: 30 });
  assert.deepEqual(short, ["access", 60_000]);
});

test("the key of user ids is never rotated, and never deleted", () => {
  const twoKeys = [...first, key("userId", day90Ms)];
  const retired = key("userId", startMs, startMs);
  for (const rows of [first, twoKeys, [...twoKeys, retired]]) {
    const { create, remove } = scheduleRotation(rows, config, startMs + 3_000 * DAY);
    assert.ok(!create.some(({ purpose }) => purpose === "userId"));
    assert.ok(!remove.some((keyId) => keyId.startsWith("userId")));
  }
});

test("a replaced key stays until every token, ciphertext or code that used it has expired", () => {
  const lives = { access: 900, password: 86_400, code: 300 };
  for (const [purpose, seconds] of Object.entries(lives)) {
    const rows = [...first, key(purpose, day90Ms)];
    const unusedMs = day90Ms + seconds * 1_000 + 60_000;
    assert.deepEqual(scheduleRotation(rows, config, unusedMs - 1).remove, [], purpose);
    assert.deepEqual(scheduleRotation(rows, config, unusedMs).remove, [`${purpose} 0`], purpose);
  }
});

test("a data or index key is deleted only after it was retired", () => {
  for (const purpose of ["data", "index"]) {
    const successor = key(purpose, day90Ms);
    const muchLaterMs = day90Ms + 3_000 * DAY;
    const over = { ...config, keyRotationDays: 0 };
    assert.deepEqual(scheduleRotation([...first, successor], over, muchLaterMs).remove, []);
    const retired = [key(purpose, startMs, day90Ms + DAY), successor];
    const others = first.filter((row) => row.purpose !== purpose);
    const unusedMs = day90Ms + DAY + HOUR + 60_000;
    assert.deepEqual(scheduleRotation([...others, ...retired], over, unusedMs - 1).remove, []);
    assert.deepEqual(scheduleRotation([...others, ...retired], over, unusedMs).remove, [
      `${purpose} 0`,
    ]);
  }
});

test("the only key of a purpose is never deleted", () => {
  const muchLaterMs = day90Ms + 3_000 * DAY;
  const retired = first.map((row) => ({ ...row, retiredAt: new Date(startMs) }));
  assert.deepEqual(scheduleRotation(retired, config, muchLaterMs).remove, []);
});
