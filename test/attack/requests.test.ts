import assert from "node:assert/strict";
import { test } from "node:test";
import { isMessage } from "@bufbuild/protobuf";
import { MessageService, SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { SERVICES } from "#platform/rpc/contract.ts";
import { createMessageValidator } from "#platform/validation/validator.ts";
import { requestsFor } from "./requests.ts";

test("requestsFor creates valid requests for every method of the contracts", () => {
  const validator = createMessageValidator();
  let methods = 0;
  for (const service of SERVICES) {
    for (const method of service.methods) {
      methods++;
      for (const request of requestsFor(method, {})) {
        const result = validator.validate(method.input, request);
        assert.equal(result.kind, "valid", `${method}: ${result.error}`);
      }
    }
  }
  assert.ok(methods > 50, `${methods} methods`);
});

test("requestsFor puts named values into the fields of their names, in every case of a oneof", () => {
  const named = { user_id: "42", conversation_id: "43" };
  const requests = requestsFor(MessageService.method.send, named);
  const targets = requests.map((request) => {
    assert.ok(isMessage(request, SendRequestSchema));
    return request.target;
  });
  assert.deepEqual(targets, [
    { case: "userId", value: "42" },
    { case: "conversationId", value: "43" },
  ]);
});
