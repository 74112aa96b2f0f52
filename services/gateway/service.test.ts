import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { createClient, createRouterTransport, type Transport } from "@connectrpc/connect";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionAlpha } from "#gen/grpc/reflection/v1alpha/reflection_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { systemClock as clock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { createConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { reasonOf } from "#platform/errors.ts";
import { testIssuer } from "#platform/identity/tokens.fixture.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import { gatewayConfig } from "./config.ts";
import { startGateway } from "./service.ts";

async function start(t: TestContext) {
  const config = defaultsOf(gatewayConfig);
  const metrics = new Metrics();
  const registry = createMemoryRegistry({ clock });
  t.after(() => registry.close());
  const transport = {} as Transport;
  const gateway = await startGateway({
    config,
    log: createLog({ service: "gateway", instanceId: "test", level: "silent" }),
    metrics,
    registry,
    verifier: (await testIssuer(clock)).verifier,
    transports: { auth: transport, server: transport },
    secret: "s",
    clock,
    bounds: createConnectionBounds({
      maxima: { all: 10, address: 10, network: 10 },
      metrics,
      refused() {},
    }),
  });
  t.after(() => gateway.stop());
  return { config, gateway };
}

test("reflection and the pages are on by default, and each can be switched off and on at run time", async (t) => {
  const { config, gateway } = await start(t);
  const web = createServer((request, response) => {
    if (!gateway.pages(request, response)) response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  t.after(() => web.close());
  const { port } = web.address() as AddressInfo;
  const pages = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/docs/`);
    await answer.arrayBuffer();
    return answer.status;
  };
  const reflection = async (service: typeof ServerReflection | typeof ServerReflectionAlpha) => {
    const { implementation } = gateway.served.find((one) => one.service === service)!;
    const list = { messageRequest: { case: "listServices", value: "" } } as const;
    const asked = createAsyncIterable([create(service.method.serverReflectionInfo.input, list)]);
    const transport = createRouterTransport(({ service: route }) => route(service, implementation));
    try {
      for await (const answer of createClient(service, transport).serverReflectionInfo(asked))
        return answer.messageResponse.case;
    } catch (error) {
      return ErrorReason[reasonOf(error)];
    }
  };
  const kinds = async () => [
    await reflection(ServerReflection),
    await reflection(ServerReflectionAlpha),
    await pages(),
  ];
  const shown = "listServicesResponse";
  assert.deepEqual(await kinds(), [shown, shown, 200]);
  Object.assign(config, { docs: false });
  assert.deepEqual(await kinds(), [shown, shown, 404]);
  Object.assign(config, { docs: true, reflection: false });
  assert.deepEqual(await kinds(), ["METHOD_NOT_FOUND", "METHOD_NOT_FOUND", 200]);
});
