import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import {
  CloseCode,
  CloseCodeSchema,
  ReconnectAction,
  ServerFrameSchema,
} from "#gen/lucky/frame/v1/frame_pb.js";
import { actionOf } from "./close-codes.ts";
import { kickFrame } from "./frames.ts";

const { RECONNECT, STAY_CLOSED } = ReconnectAction;
/** Codes after which a client must not reconnect by itself; it reconnects after all others. */
const FINAL = new Set<CloseCode>([
  CloseCode.TOKEN_INVALID,
  CloseCode.TOKEN_REVOKED,
  CloseCode.REPLACED,
  CloseCode.DEVICE_LIMIT_REACHED,
  CloseCode.CLIENT_TOO_OLD,
]);
const codes: CloseCode[] = CloseCodeSchema.values
  .map(({ number }) => number)
  .filter((code) => code !== CloseCode.UNSPECIFIED);

test("every close code is in the range of its action, and its Kick carries the action", () => {
  assert.equal(new Set(codes).size, codes.length);
  for (const code of codes) {
    assert.ok(code >= 4_000 && code <= 4_999, CloseCode[code]);
    const expected = FINAL.has(code) ? STAY_CLOSED : RECONNECT;
    const { kind } = fromBinary(ServerFrameSchema, kickFrame({ code, text: "t" }));
    assert.equal(kind.case, "kick");
    if (kind.case !== "kick") continue;
    assert.deepEqual([kind.value.code, kind.value.action], [code, expected], CloseCode[code]);
    const waits = code === CloseCode.UNAVAILABLE || code === CloseCode.RATE_LIMITED;
    assert.equal(kind.value.retryAfterMs, waits ? 1_000n : 0n, CloseCode[code]);
  }
});

test("the range decides the action for codes of later servers and for codes of WebSocket", () => {
  for (const code of [1_000, 1_006, 1_012, 3_000, 4_000, 4_499, 5_000])
    assert.equal(actionOf(code), RECONNECT, `${code}`);
  for (const code of [4_500, 4_505, 4_999]) assert.equal(actionOf(code), STAY_CLOSED, `${code}`);
});
