import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ProcessService } from "#gen/lucky/internal/operations/v1/process_pb.js";
import { GetSettingsRequestSchema } from "#gen/lucky/operations/v1/operations_pb.js";
import { fail } from "#platform/errors.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { serve } from "#platform/rpc/served.ts";
import { listSettings } from "./settings-list.ts";

test("a process without an answer is listed with the reason, and the others answer", async () => {
  const clientOf = (describeSettings: () => { process?: { instanceId: string } }) => {
    const served = [serve(ProcessService, { describeSettings, describeDeliveries: () => ({}) })];
    return createClient(ProcessService, localTransport(served, []));
  };
  const connects = [
    ["connect-0", clientOf(() => ({ process: { instanceId: "connect-0" } }))],
    ["connect-1", clientOf(() => ({ process: { instanceId: "connect-9" } }))],
    ["connect-2", undefined],
    [
      "connect-3",
      clientOf(() => {
        throw fail(ErrorReason.UNAVAILABLE, "gone");
      }),
    ],
  ] as const;
  const processes = {
    of: async (service: string) =>
      service === "connect"
        ? connects.map(([instanceId, client]) => ({ service, instanceId, client }))
        : [],
  };
  const request = create(GetSettingsRequestSchema, {});
  const { signal } = new AbortController();
  const answer = await listSettings(processes, request, signal);
  assert.deepEqual(
    answer.processes.map(({ instanceId, failure }) => [instanceId, failure]),
    [
      ["connect-0", ""],
      ["connect-1", "another process answers at its operator's port: set LUCKY_OPS_HOST"],
      ["connect-2", "it announces no operator's port: an older version"],
      ["connect-3", "[unavailable] gone: server reaches it by LUCKY_OPS_HOST"],
    ],
  );
  const one = { ...request, service: "connect", instanceId: "connect-1" };
  assert.equal((await listSettings(processes, one, signal)).processes.length, 1);
  const none = { ...request, service: "auth" };
  assert.deepEqual((await listSettings(processes, none, signal)).processes, []);
});
