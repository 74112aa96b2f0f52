import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectError, createClient, type ServiceImpl } from "@connectrpc/connect";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { serve } from "#platform/rpc/served.ts";
import { validateInterceptor } from "./validate.ts";

test("of a request that breaks many constraints one is told, however many there are", async () => {
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
