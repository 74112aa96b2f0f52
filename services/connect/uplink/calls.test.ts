import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { invalidField } from "#platform/errors.ts";
import { untilAborted } from "#platform/rpc/rpc.fixture.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { MAX_SERVER_FRAME_BYTES } from "../socket/frames.ts";

test("calls over the socket run as the session's user, are bounded, and are answered with errors of the contract", async (t) => {
  const waiting: (() => void)[] = [];
  const tokens: (string | null)[] = [];
  const harness = await startConnectHarness(t, {
    config: { callsInFlight: 2 },
    methods: {
      async call(method, request, headers) {
        tokens.push(headers.get("authorization"));
        if (method === "fault") throw new TypeError("a secret of ours");
        if (method === "huge") return new Uint8Array(MAX_SERVER_FRAME_BYTES);
        await new Promise<void>((resolve) => waiting.push(resolve));
        return request;
      },
    },
  });
  const ana = await harness.device("1");
  const call = (callId: string, method: string) =>
    ana.send({ case: "rpc", value: { callId, method, request: new Uint8Array([1, 2, 3]) } });
  call("1", "echo");
  call("2", "echo");
  call("3", "echo");
  const third = await ana.next("rpcResult");
  assert.equal(third.callId, "3");
  assert.equal(third.outcome.case === "error" && third.outcome.value.error?.reason, 8);
  for (const finish of waiting.splice(0)) finish();
  const first = await ana.next("rpcResult", ({ callId }) => callId === "1");
  assert.deepEqual(first.outcome.case === "response" && [...first.outcome.value], [1, 2, 3]);
  call("4", "fault");
  const fault = await ana.next("rpcResult", ({ callId }) => callId === "4");
  const error = fault.outcome.case === "error" ? fault.outcome.value : undefined;
  assert.deepEqual([error?.code, error?.error?.reason], [13, 1]);
  assert.doesNotMatch(error?.text ?? "", /secret/);
  call("5", "huge");
  const huge = await ana.next("rpcResult", ({ callId }) => callId === "5");
  assert.equal(huge.outcome.case === "error" && huge.outcome.value.error?.reason, 1);
  const fault5 = harness.events.find(
    ({ event, method }) => event === "rpc_fault" && method === "huge",
  );
  assert.match(JSON.stringify(fault5), /the answer has 1310720 bytes/);
  assert.match(tokens[0] ?? "", /^Bearer ey/);
});

test("every error of a call over the socket has a detail", async (t) => {
  const faults: Record<string, [ErrorReason, Code, (signal: AbortSignal) => Promise<never>]> = {
    wait: [ErrorReason.DEADLINE_EXCEEDED, Code.DeadlineExceeded, untilAborted],
    cancel: [
      ErrorReason.CANCELED,
      Code.Canceled,
      () => Promise.reject(new ConnectError("cancelled", Code.Canceled)),
    ],
    away: [
      ErrorReason.UNAVAILABLE,
      Code.Unavailable,
      () => Promise.reject(new ConnectError("away", Code.Unavailable)),
    ],
    throw: [ErrorReason.INTERNAL, Code.Internal, () => Promise.reject(new TypeError("a bug"))],
    field: [
      ErrorReason.INVALID_ARGUMENT,
      Code.InvalidArgument,
      () => Promise.reject(invalidField("name", "is too long")),
    ],
    unknown: [
      ErrorReason.METHOD_NOT_FOUND,
      Code.Unimplemented,
      () => Promise.reject(new ConnectError("none", Code.Unimplemented)),
    ],
  };
  const harness = await startConnectHarness(t, {
    config: { callTimeoutMs: 1 },
    methods: {
      call: (method, _request, _headers, signal) => faults[method]![2](signal),
    },
  });
  const ana = await harness.device("1");
  for (const [method, [reason, code]] of Object.entries(faults)) {
    ana.send({ case: "rpc", value: { callId: "1", method, request: new Uint8Array() } });
    const { outcome } = await ana.next("rpcResult");
    assert.equal(outcome.case, "error");
    const detail = outcome.value.error;
    assert.deepEqual([method, outcome.value.code, detail?.reason], [method, code, reason]);
    const passes = method === "wait" || method === "away";
    assert.equal((detail?.retryAfterMs ?? 0n) > 0n, passes, method);
    assert.equal(detail?.field, method === "field" ? "name" : "");
  }
});
