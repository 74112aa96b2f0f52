import assert from "node:assert/strict";
import { test } from "node:test";
import type { DescField } from "@bufbuild/protobuf";
import { ConnectError, createClient, type ServiceImpl } from "@connectrpc/connect";
import {
  AdvanceBatchRequestSchema,
  AppendBatchRequestSchema,
  IngressService,
  OpenSessionsRequestSchema,
  ReadEntriesRequestSchema,
  SignalBatchRequestSchema,
  SweepRequestSchema,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { serve } from "#platform/rpc/served.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import { validateInterceptor } from "./validate.ts";

test("the error names one broken constraint, however many a request breaks", async () => {
  const served = serve(MessageService, {} as ServiceImpl<typeof MessageService>);
  const client = createClient(MessageService, localTransport([served], [validateInterceptor()]));
  const parts = Array.from({ length: 10_000 }, () => ({}));
  const composite = { case: "composite" as const, value: { parts } };
  const error = await client
    .send({
      target: { case: "userId", value: "2" },
      clientMessageId: "k",
      content: { kind: composite },
    })
    .catch((thrown) => thrown);
  const text = "content.composite.parts: must contain no more than 50 item(s)";
  assert.equal(ConnectError.from(error).rawMessage, text);
});

test("an internal batch is accepted up to the bound of the contract and refused beyond it", async () => {
  const empty = async () => ({});
  const served = serve(IngressService, {
    appendBatch: empty,
    openSessions: empty,
    advanceBatch: empty,
    signalBatch: empty,
    readEntries: empty,
    sweep: empty,
    recordDeadLetters: empty,
  });
  const client = createClient(IngressService, localTransport([served], [validateInterceptor()]));
  const items = (count: number) => Array.from({ length: count }, () => ({}));
  const ids = (count: number) => Array.from({ length: count }, (_, at) => String(at + 1));
  const calls: [DescField, number, (count: number) => Promise<unknown>][] = [
    [
      AppendBatchRequestSchema.field.uplinks,
      512,
      (count) => client.appendBatch({ uplinks: items(count) }),
    ],
    [
      AdvanceBatchRequestSchema.field.advances,
      2_000,
      (count) => client.advanceBatch({ advances: items(count) }),
    ],
    [
      SignalBatchRequestSchema.field.signals,
      2_000,
      (count) => client.signalBatch({ signals: items(count) }),
    ],
    [
      ReadEntriesRequestSchema.field.ranges,
      200,
      (count) => client.readEntries({ ranges: items(count) }),
    ],
    [
      OpenSessionsRequestSchema.field.userIds,
      500,
      (count) => client.openSessions({ userIds: ids(count) }),
    ],
    [SweepRequestSchema.field.userIds, 5_000, (count) => client.sweep({ userIds: ids(count) })],
  ];
  for (const [field, most, call] of calls) {
    assert.equal(maxItems(field), most);
    await call(most);
    const text = `${field.name}: must contain no more than ${most} item(s)`;
    await assert.rejects(call(most + 1), (error) => ConnectError.from(error).rawMessage === text);
  }
});
