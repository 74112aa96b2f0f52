import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { CloseCode, ReconnectAction } from "../../gen/lucky/frame/v1/frame_pb.js";
import { Backoff } from "../backoff.ts";
import { LuckyError } from "../error.ts";
import { afterClose, afterFailure } from "./next-step.ts";

test("a session whose login is over, or that was replaced, does not reconnect", () => {
  assert.deepEqual(afterClose(CloseCode.TOKEN_INVALID), { kind: "stop", reason: "login-over" });
  assert.deepEqual(afterClose(CloseCode.TOKEN_REVOKED), { kind: "stop", reason: "login-over" });
  assert.deepEqual(afterClose(CloseCode.REPLACED), { kind: "stop", reason: "replaced" });
  const full = { kind: "stop", reason: "device-limit" } as const;
  assert.deepEqual(afterClose(CloseCode.DEVICE_LIMIT_REACHED), full);
  const old = { kind: "stop", reason: "client-too-old" } as const;
  assert.deepEqual(afterClose(CloseCode.CLIENT_TOO_OLD), old);
  const over = new LuckyError(ErrorReason.REFRESH_TOKEN_INVALID, "");
  assert.deepEqual(afterFailure(over), { kind: "stop", reason: "login-over" });
});

test("an expired token is refreshed before the reconnect", () => {
  assert.deepEqual(afterClose(CloseCode.TOKEN_EXPIRED), { kind: "refresh", extraMs: 0 });
});

test("any other end below 4500, known or unknown, leads to a reconnect with back-off", () => {
  const { HEARTBEAT_TIMEOUT, MOVE, UNAVAILABLE, LOG_RESET } = CloseCode;
  for (const code of [HEARTBEAT_TIMEOUT, MOVE, UNAVAILABLE, LOG_RESET, 1000, 1006, 4099, 4499]) {
    assert.equal(afterClose(code).kind, "back-off");
  }
  const busy = new LuckyError(ErrorReason.RATE_LIMITED, "", { retryAfterMs: 700 });
  assert.deepEqual(afterFailure(busy), { kind: "back-off", atLeastMs: 700, extraMs: 0 });
  const unknown = new LuckyError(999 as ErrorReason, "", { retryAfterMs: 700 });
  assert.deepEqual(afterFailure(unknown), { kind: "back-off", atLeastMs: 700, extraMs: 0 });
});

test("an unknown close code from 4500 on ends the session for good", () => {
  for (const code of [4500 + 98, 4999]) {
    assert.deepEqual(afterClose(code), { kind: "stop", reason: "by-server" });
  }
  assert.equal(afterClose(5000).kind, "back-off");
});

test("the action of a Kick wins over the range of the close code, and its delay is added to the back-off", () => {
  const kick = (action: ReconnectAction, retryAfterMs = 0) => ({
    action,
    retryAfterMs: BigInt(retryAfterMs),
  });
  const { RECONNECT, STAY_CLOSED, UNSPECIFIED } = ReconnectAction;
  const stay = afterClose(CloseCode.UNAVAILABLE, kick(STAY_CLOSED));
  assert.deepEqual(stay, { kind: "stop", reason: "by-server" });
  const back = { kind: "back-off", atLeastMs: 0, extraMs: 9_000 } as const;
  assert.deepEqual(afterClose(CloseCode.REPLACED, kick(RECONNECT, 9_000)), back);
  assert.deepEqual(afterClose(4600, kick(UNSPECIFIED)), { kind: "stop", reason: "by-server" });
  assert.deepEqual(afterClose(4600, kick(77 as ReconnectAction)).kind, "stop");
  assert.deepEqual(afterClose(4100, kick(UNSPECIFIED, 9_000)), back);
  const expired = { kind: "refresh", extraMs: 9_000 } as const;
  assert.deepEqual(afterClose(CloseCode.TOKEN_EXPIRED, kick(RECONNECT, 9_000)), expired);
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
