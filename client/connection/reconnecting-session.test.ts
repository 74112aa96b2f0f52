import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "../../gen/lucky/frame/v1/frame_pb.js";
import { Backoff } from "../backoff.ts";
import { LuckyError } from "../error.ts";
import { afterClose, afterFailure } from "./reconnecting-session.ts";

test("a session whose login is over, or that was replaced, does not reconnect", () => {
  assert.deepEqual(afterClose(CloseCode.TOKEN_INVALID), { kind: "stop", reason: "login-over" });
  assert.deepEqual(afterClose(CloseCode.TOKEN_REVOKED), { kind: "stop", reason: "login-over" });
  assert.deepEqual(afterClose(CloseCode.REPLACED), { kind: "stop", reason: "replaced" });
  const full = { kind: "stop", reason: "device-limit" } as const;
  assert.deepEqual(afterClose(CloseCode.DEVICE_LIMIT_REACHED), full);
  const over = new LuckyError(ErrorReason.REFRESH_TOKEN_INVALID, "");
  assert.deepEqual(afterFailure(over), { kind: "stop", reason: "login-over" });
});

test("an expired token is refreshed before the reconnect", () => {
  assert.deepEqual(afterClose(CloseCode.TOKEN_EXPIRED), { kind: "refresh" });
});

test("any other end, known or unknown, leads to a reconnect with back-off", () => {
  const known = [CloseCode.HEARTBEAT_TIMEOUT, CloseCode.MOVE, CloseCode.UNAVAILABLE];
  for (const code of [...known, 1000, 1001, 1006, 4999]) {
    assert.equal(afterClose(code).kind, "back-off");
  }
  const busy = new LuckyError(ErrorReason.RATE_LIMITED, "", { retryAfterMs: 700 });
  assert.deepEqual(afterFailure(busy), { kind: "back-off", atLeastMs: 700 });
});

test("the back-off grows to a bound, with full jitter, and is reset by a success", () => {
  const longest = new Backoff({ firstMs: 500, longestMs: 30_000, random: () => 1 });
  const pauses = Array.from({ length: 8 }, () => longest.next());
  assert.deepEqual(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  longest.reset();
  assert.equal(longest.next(), 500);
  const shortest = new Backoff({ firstMs: 500, longestMs: 30_000, random: () => 0 });
  assert.equal(shortest.next(), 0);
  assert.equal(shortest.next(250), 250);
});
