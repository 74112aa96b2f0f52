import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultsOf } from "#platform/config/config.ts";
import { authConfig } from "../config.ts";
import { type KeyTimes, scheduleRotation } from "./rotation-schedule.ts";

const config = defaultsOf(authConfig);
const DAY = 86_400_000;
const startMs = Date.UTC(2026, 0, 1);
const ninety = startMs + 90 * DAY;
const HOUR = 3_600_000;

const key = (purpose: string, activeMs: number, retiredMs?: number): KeyTimes => ({
  keyId: `${purpose} ${activeMs - startMs}`,
  purpose,
  activeAt: new Date(activeMs),
  retiredAt: retiredMs === undefined ? null : new Date(retiredMs),
});
const ALL = ["access", "password", "data", "index", "code"];
const first = ALL.map((purpose) => key(purpose, startMs));
const made = (rows: readonly KeyTimes[], nowMs: number, over = {}) =>
  scheduleRotation(rows, { ...config, ...over }, nowMs).create.map(({ purpose, activeAt }) => [
    purpose,
    activeAt.getTime() - nowMs,
  ]);

test("a purpose without a key gets one at once", () => {
  assert.deepEqual(
    made([], startMs),
    ALL.map((purpose) => [purpose, 0]),
  );
  assert.deepEqual(made(first.slice(1), startMs), [["access", 0]]);
});

test("a key gets its successor after its days, once, and long enough ahead", () => {
  assert.deepEqual(made(first, ninety - 1), []);
  assert.deepEqual(
    made(first, ninety),
    ALL.map((purpose) => [purpose, HOUR]),
  );
  const successors = ALL.map((purpose) => key(purpose, ninety + HOUR));
  assert.deepEqual(made([...first, ...successors], ninety + 1), []);
  assert.deepEqual(made(first, ninety, { keyRotationDays: 0 }), []);
  // However short it is configured: every instance has read the keys by then.
  const [short] = made(first, ninety, { keyPublishAheadSeconds: 0, keyRefreshSeconds: 30 });
  assert.deepEqual(short, ["access", 60_000]);
});

test("a replaced key stays for as long as something made with it may come", () => {
  const lives = { access: 900, password: 86_400, code: 300 };
  for (const [purpose, seconds] of Object.entries(lives)) {
    const rows = [...first, key(purpose, ninety)];
    const goneMs = ninety + seconds * 1_000 + 60_000;
    assert.deepEqual(scheduleRotation(rows, config, goneMs - 1).remove, [], purpose);
    assert.deepEqual(scheduleRotation(rows, config, goneMs).remove, [`${purpose} 0`], purpose);
  }
});

test("a key that sealed columns goes only when nothing lies under it", () => {
  for (const purpose of ["data", "index"]) {
    const successor = key(purpose, ninety);
    const years = ninety + 3_000 * DAY;
    const over = { ...config, keyRotationDays: 0 };
    assert.deepEqual(scheduleRotation([...first, successor], over, years).remove, []);
    const retired = [key(purpose, startMs, ninety + DAY), successor];
    const others = first.filter((row) => row.purpose !== purpose);
    const goneMs = ninety + DAY + HOUR + 60_000;
    assert.deepEqual(scheduleRotation([...others, ...retired], over, goneMs - 1).remove, []);
    assert.deepEqual(scheduleRotation([...others, ...retired], over, goneMs).remove, [
      `${purpose} 0`,
    ]);
  }
});

test("the only key of a purpose is never deleted", () => {
  const years = ninety + 3_000 * DAY;
  const retired = first.map((row) => ({ ...row, retiredAt: new Date(startMs) }));
  assert.deepEqual(scheduleRotation(retired, config, years).remove, []);
});
