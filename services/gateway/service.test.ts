import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Transport } from "@connectrpc/connect";
import { systemClock as clock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { createConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { testIssuer } from "#platform/identity/tokens.fixture.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import { type GatewayConfig, gatewayConfig } from "./config.ts";
import { startGateway } from "./service.ts";

async function start(t: TestContext, settings: Partial<GatewayConfig>) {
  const metrics = new Metrics();
  const registry = createMemoryRegistry({ clock });
  t.after(() => registry.close());
  const transport = {} as Transport;
  const gateway = await startGateway({
    config: { ...defaultsOf(gatewayConfig), ...settings },
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
  return gateway;
}

test("reflection and the pages are there by default, and each can be switched off", async (t) => {
  const kinds = async (settings: Partial<GatewayConfig>) => {
    const { served, pages } = await start(t, settings);
    const names = served.map(({ service }) => service.typeName);
    const standard = names.filter((name) => name.startsWith("grpc.reflection."));
    return { standard, pages: pages !== undefined };
  };
  const versions = ["v1", "v1alpha"].map(
    (version) => `grpc.reflection.${version}.ServerReflection`,
  );
  assert.deepEqual(await kinds({}), { standard: versions, pages: true });
  assert.deepEqual(await kinds({ docs: false }), { standard: versions, pages: false });
  assert.deepEqual(await kinds({ reflection: false }), { standard: [], pages: true });
});
