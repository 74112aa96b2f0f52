import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { openTraces } from "#platform/tracing/open-traces.ts";
import { startOtlpCollector } from "../../../test/backends/otlp-collector.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { refusedOutcome } from "../socket/frames.ts";
import { TracedSends } from "./traced-sends.ts";

test("each sampled send has a span with its outcome, and their batch has one with links", async (t) => {
  const collector = await startOtlpCollector(t);
  const traces = await openTraces({
    platform: { otlpUrl: collector.url, traceOneIn: 2, traceClientsPerSecond: 0 },
    service: "connect",
    instanceId: "connect-0",
    log: keptLog().log,
    metrics: new Metrics(),
    clock: new ManualClock(),
  });
  const sends = Array.from({ length: 6 }, (_, at) => ({ at }));
  const traced = new TracedSends<{ at: number }>(traces);
  for (const send of sends) traced.begin(send, "");
  assert.equal(traced.batch([sends[0]!, sends[2]!]), undefined);
  const batch = traced.batch(sends)!;
  batch.end();
  const accepted = { conversationId: "12", sequence: 7n };
  const outcome = { case: "accepted" as const, value: accepted };
  const result = toBinary(SendResultSchema, create(SendResultSchema, { outcome }));
  const refused = refusedOutcome({
    reason: ErrorReason.MUTED,
    text: "a text with a name",
    retryAfterMs: 0,
  });
  const none = new Uint8Array(0);
  traced.end(sends, [result, result, result, refused, result, none]);
  assert.equal(traced.batch(sends), undefined);
  await traces!.close();

  const spans = collector.spans.filter(({ name }) => name === "lucky.frame.v1.Send");
  const common = { "rpc.system.name": "lucky", "rpc.method": "lucky.frame.v1.Send" };
  assert.deepEqual(
    spans.map(({ attributes }) => attributes),
    [
      {
        ...common,
        "lucky.send.outcome": "accepted",
        "lucky.conversation_id": "12",
        "lucky.sequence": 7,
      },
      { ...common, "lucky.send.outcome": "refused", "lucky.send.reason": "MUTED" },
      { ...common, "lucky.send.outcome": "failed", "error.type": "Error" },
    ],
  );
  const [first, ...others] = spans;
  const received = collector.spans.find(({ spanId }) => spanId === batch.spanId)!;
  assert.equal(received.parentId, first!.spanId);
  assert.equal(received.attributes["lucky.batch.sends"], 6);
  assert.deepEqual(
    received.links,
    others.map(({ traceId, spanId }) => ({ traceId, spanId })),
  );
});
