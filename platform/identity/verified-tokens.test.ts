import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import type { UserCaller } from "./caller.ts";
import { createVerifiedTokens } from "./verified-tokens.ts";

const callerOf = (token: string, expiresAtMs: number): UserCaller => ({
  kind: "user",
  userId: "1",
  deviceId: "d",
  deviceClass: 1,
  loginId: "l",
  role: "user",
  keyId: "k",
  expiresAtMs,
  token,
});

test("expired tokens of sessions that refresh them for hours are evicted", () => {
  const clock = new ManualClock();
  const tokens = createVerifiedTokens({ clock, max: 50_000 });
  for (let turn = 0; turn < 40; turn += 1) {
    for (let session = 0; session < 100; session += 1)
      tokens.set(callerOf(`${session}.${turn}`, clock.now() + 900_000));
    clock.advance(870_000);
  }
  assert.ok(tokens.size <= 200, `${tokens.size}`);
  assert.equal(tokens.get("99.39")?.token, "99.39");
});

test("the least recently used token is evicted at the bound", () => {
  const clock = new ManualClock();
  const tokens = createVerifiedTokens({ clock, max: 2 });
  for (const token of ["a", "b"]) tokens.set(callerOf(token, clock.now() + 1));
  tokens.get("a");
  tokens.set(callerOf("c", clock.now() + 1));
  assert.equal(tokens.get("b"), undefined);
  assert.equal(tokens.get("a")?.token, "a");
});
