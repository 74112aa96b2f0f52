import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { ProcessService } from "#gen/lucky/internal/operations/v1/process_pb.js";
import { systemClock as clock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { openSettings } from "#platform/config/load-config.ts";
import { operationsSecrets } from "#platform/config/secrets.ts";
import { platformConfig } from "#platform/config/settings.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import type { ServiceName } from "#platform/service-name.ts";
import { operatorCalls } from "./operator-calls.ts";
import { serveOps } from "./ops.ts";
import { meshProcesses } from "./processes.ts";

const GATEWAY = "g".repeat(32);
const SECRETS = {
  connectSecret: ["c".repeat(32)],
  gatewaySecret: ["n".repeat(32), GATEWAY],
  serverSecret: ["s".repeat(32)],
};
const { log } = keptLog();

/** Starts the operator's port of a process. Returns its address. */
async function start(t: TestContext, service: ServiceName, secrets: Partial<typeof SECRETS>) {
  const platform = { ...defaultsOf(platformConfig), ...secrets };
  const { settings } = openSettings({ platform: platformConfig }, { env: {} });
  const metrics = new Metrics();
  const instanceId = `${service}-0`;
  const deliveries = () => undefined;
  const ops = await serveOps({
    host: "127.0.0.1",
    port: 0,
    metrics,
    started: () => true,
    ready: () => true,
    log,
    calls: operatorCalls({
      service,
      instanceId,
      platform,
      settings,
      deliveries,
      log,
      metrics,
      clock,
    }),
  });
  t.after(() => ops.close());
  return `http://127.0.0.1:${ops.port}`;
}

test("server finds each process by the registry, and only a derived secret of its service may ask it", async (t) => {
  const registry = createMemoryRegistry({ clock });
  t.after(() => registry.close());
  const announce = async (service: string, opsAddress?: string) => {
    const instance = { instanceId: `${service}-0`, service, address: "", publicAddress: "" };
    await registry.announce({ ...instance, opsAddress, load: 0 }, () => {});
  };
  // The gateway has the old secret of a rotation alone.
  const baseUrl = await start(t, "gateway", {
    gatewaySecret: [...SECRETS.gatewaySecret].reverse(),
  });
  await announce("gateway", baseUrl);
  await announce("auth");
  const processes = meshProcesses({ registry, platform: SECRETS });
  const [gateway] = await processes.of("gateway");
  const answer = await gateway!.client!.describeSettings({});
  assert.equal(answer.process?.instanceId, "gateway-0");
  assert.ok(answer.process.settings.some(({ name }) => name === "logLevel"));
  const [auth] = await processes.of("auth");
  assert.deepEqual([auth?.instanceId, auth?.client], ["auth-0", undefined]);
  assert.deepEqual(await processes.of("connect"), []);

  const ask = async (secret: string | undefined) => {
    const transport = createConnectTransport({ baseUrl, httpVersion: "1.1" });
    const headers = new Headers(secret === undefined ? [] : [[MESH_HEADER, secret]]);
    const client = createClient(ProcessService, transport);
    return client.describeSettings({}, { headers }).then(
      () => "answered",
      (error: Error) => error.message,
    );
  };
  const refusal = /DescribeSettings is for Lucky's own services/;
  const others = operationsSecrets("connect", SECRETS);
  for (const secret of [undefined, "", GATEWAY, SECRETS.serverSecret[0], ...others])
    assert.match(await ask(secret), refusal);
  const all = operationsSecrets("gateway", SECRETS);
  assert.equal(all.length, 2);
  for (const secret of all) assert.equal(await ask(secret), "answered");
});
