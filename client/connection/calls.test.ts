import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { RpcResultSchema } from "../../gen/lucky/frame/v1/frame_pb.js";
import { MessageService, SyncResponseSchema } from "../../gen/lucky/message/v1/message_pb.js";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { LuckyError } from "../error.ts";
import { Calls } from "./calls.ts";

const { sync } = MessageService.method;

function setUp() {
  const clock = new ManualClock();
  const written: string[] = [];
  const calls = new Calls(clock, ({ callId }) => {
    written.push(callId);
    return true;
  });
  const answer = (callId: string) => {
    const value = toBinary(SyncResponseSchema, create(SyncResponseSchema));
    calls.result(create(RpcResultSchema, { callId, outcome: { case: "response", value } }));
  };
  return { clock, calls, written, answer };
}

test("calls above the server's limit wait for the answers of those before them", async () => {
  const { calls, written, answer } = setUp();
  calls.open(2);
  const answers = Array.from({ length: 4 }, () => calls.call(sync, {}));
  assert.deepEqual(written, ["1", "2"]);
  answer("2");
  assert.deepEqual(written, ["1", "2", "3"]);
  for (const id of ["1", "3", "4"]) answer(id);
  assert.deepEqual(written, ["1", "2", "3", "4"]);
  await Promise.all(answers);
});

test("a call that waits times out, and all calls fail when the session breaks", async () => {
  const { calls, clock, written } = setUp();
  calls.open(1);
  const results = Promise.allSettled(Array.from({ length: 2 }, () => calls.call(sync, {})));
  clock.advance(10_000);
  const reasons = (await results).map((one) => one.status === "rejected" && one.reason.reason);
  assert.deepEqual(reasons, [ErrorReason.UNAVAILABLE, ErrorReason.UNAVAILABLE]);
  const lost = calls.call(sync, {});
  calls.lost();
  await assert.rejects(lost, /the session broke/);
  assert.deepEqual(written.at(-1), "3");
});

test("the error of a call has the reason, the field and the delay of the server", async () => {
  const { calls } = setUp();
  const result = calls.call(sync, {});
  const error = { reason: ErrorReason.INVALID_ARGUMENT, field: "page_size", retryAfterMs: 5n };
  const value = { code: 3, text: "too large", error };
  calls.result(create(RpcResultSchema, { callId: "1", outcome: { case: "error", value } }));
  await assert.rejects(result, (failure: LuckyError) => {
    assert.ok(failure instanceof LuckyError);
    assert.equal(failure.field, "page_size");
    assert.equal(failure.retryAfterMs, 5);
    return failure.reason === ErrorReason.INVALID_ARGUMENT;
  });
});
