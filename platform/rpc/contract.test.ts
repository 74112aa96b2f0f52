import assert from "node:assert/strict";
import { test } from "node:test";
import type { Transport } from "@connectrpc/connect";
import { Health } from "#gen/grpc/health/v1/health_pb.js";
import { publicServices, SERVICES, servedBy } from "./contract.ts";
import { generatedServices } from "./generated.fixture.ts";
import { isInternal } from "./rules.ts";

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
    assert.match(servedBy(service), /^(auth|server|gateway)$/, service.typeName);
  }
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
    "DeviceService",
    "GroupService",
    "MessageService",
    "PresenceService",
    "UserService",
  ]);
});
