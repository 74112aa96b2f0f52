import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMethod, toBinary, toJsonString } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import type { Transport } from "@connectrpc/connect";
import { Health } from "#gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.js";
import { AddMembersRequestSchema } from "#gen/lucky/group/v1/group_pb.js";
import { Access, LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { createRequestBound } from "#platform/validation/request-bound.ts";
import { publicServices, SERVICES, servedBy } from "./contract.ts";
import { generatedServices } from "./generated.fixture.ts";
import { isInternal, rulesOf } from "./rules.ts";

test("the list of services has every service of the generated code, in order", async () => {
  const names = (await generatedServices()).map(({ typeName }) => typeName);
  assert.ok(names.length > 9);
  assert.deepEqual(
    SERVICES.map(({ typeName }) => typeName),
    names,
  );
});

test("every service of the contract declares the process that serves it", async () => {
  for (const service of await generatedServices()) {
    const served = isInternal(service)
      ? /^(auth|server|every process)$/
      : /^(auth|server|gateway)$/;
    assert.match(servedBy(service), served, service.typeName);
  }
});

test("each internal method admits exactly the services that need it", () => {
  const admitted = SERVICES.filter(isInternal).flatMap(({ name, methods }) =>
    methods.map((method) => [`${name}/${method.name}`, rulesOf(method).callers.join()]),
  );
  assert.deepEqual(Object.fromEntries(admitted), {
    "IngressService/AppendBatch": "connect",
    "IngressService/OpenSessions": "connect",
    "IngressService/AdvanceBatch": "connect",
    "IngressService/RecordDeadLetters": "connect",
    "IngressService/SignalBatch": "connect",
    "IngressService/ReadEntries": "connect",
    "IngressService/Sweep": "connect",
    "ProcessService/DescribeDeliveries": "server",
    "ProcessService/DescribeSettings": "server",
    "SessionService/ListRevocations": "auth,connect,gateway,server",
    "SessionService/GetDevicePolicy": "connect",
    "SessionService/RecordAudit": "server",
    "SessionService/RecordLastSeen": "connect",
    "SessionService/CheckUsers": "server",
    "SessionService/ListAccountChanges": "server",
  });
});

test("a service that does not declare its process is reported", () => {
  assert.throws(
    () => servedBy(Health),
    /^Error: grpc.health.v1.Health does not declare served_by$/,
  );
});

test("each public service has the transport of its process, and no internal service is included", () => {
  const transport = () => ({}) as Transport;
  const transports = { auth: transport(), server: transport() };
  const reachable = publicServices(transports);
  for (const { service, transport } of reachable) {
    assert.equal(isInternal(service), false, service.typeName);
    assert.equal(transport, transports[servedBy(service) as "auth" | "server"]);
  }
  const names = reachable.map(({ service }) => service.name).sort();
  assert.deepEqual(names, [
    "AdminService",
    "AuthService",
    "ChangeService",
    "ConversationService",
    "DeviceService",
    "GroupService",
    "HistoryService",
    "MessageService",
    "OperationsService",
    "PresenceService",
    "UserService",
  ]);
});

async function allMethods(): Promise<DescMethod[]> {
  const services = [...(await generatedServices()), Health, ServerReflection];
  return services.flatMap(({ methods }) => [...methods]);
}

test("a method that anyone may call takes at most 16 KiB, any other public one at most 512 KiB", async () => {
  for (const method of await allMethods()) {
    const { name, access, maxRequestBytes } = rulesOf(method);
    assert.ok(maxRequestBytes > 0, name);
    if (access === Access.PUBLIC) assert.ok(maxRequestBytes <= 16_384, name);
    else if (access !== Access.INTERNAL) assert.ok(maxRequestBytes <= 524_288, name);
  }
});

test("no method allows GET: the library would decode its request before the door could refuse it", async () => {
  for (const method of await allMethods()) {
    assert.notEqual(method.idempotency, Idempotency.NO_SIDE_EFFECTS, method.toString());
  }
});

test("every public read declares that it is idempotent, except those that return tokens once", async () => {
  const methods = (await allMethods()).filter(({ parent }) => parent.typeName.startsWith("lucky."));
  const reads = methods.filter((method) => {
    const { access, limit } = rulesOf(method);
    if (access === Access.INTERNAL) return false;
    return limit === LimitClass.READ || limit === LimitClass.SEARCH;
  });
  const others = reads.filter(({ idempotency }) => idempotency !== Idempotency.IDEMPOTENT);
  assert.deepEqual(others.map(({ name }) => name).sort(), ["GetQrLogin", "WatchQrLogin"]);
  assert.ok(reads.length > 20);
});

test("the fields of every request can be counted", async () => {
  const bound = createRequestBound();
  const bytes = Uint8Array.of(0xf8, 0x07, 0x01);
  for (const { input } of await allMethods()) bound({ schema: input, bytes, json: false }, 1);
});

test("the largest request to add members is within the bounds", () => {
  const userIds = Array.from({ length: 1_000 }, () => "9223372036854775807");
  const schema = AddMembersRequestSchema;
  const request = create(schema, { groupId: "9223372036854775807", userIds });
  const bound = createRequestBound();
  for (const json of [false, true]) {
    const bytes = json ? Buffer.from(toJsonString(schema, request)) : toBinary(schema, request);
    assert.ok(bytes.length < 65_536);
    bound({ schema, bytes, json }, 1_003);
  }
});
