import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { EndpointService } from "#gen/lucky/frame/v1/frame_pb.js";
import { userChannel } from "#platform/channels.ts";
import { systemClock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import { testIssuer } from "#platform/identity/tokens.fixture.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { serve } from "#platform/rpc/served.ts";
import { endpointService } from "./endpoint.ts";
import { createHints } from "./hint.ts";
import { createPlacement } from "./placement.ts";

const log = createLog({ service: "gateway", instanceId: "test", level: "silent" });
const clock = systemClock;

/** A gateway's EndpointService, called by user 1, for instances with these public addresses. */
async function setUp(t: TestContext, publicAddresses: string[]) {
  const registry = createMemoryRegistry({ clock });
  t.after(() => registry.close());
  const leases = [];
  for (const [at, publicAddress] of publicAddresses.entries()) {
    const instance = {
      instanceId: `connect-${at}`,
      service: "connect",
      address: `http://127.0.0.1:${at + 1}`,
      publicAddress,
      load: at,
    };
    leases.push(await registry.announce(instance, () => {}));
  }
  const hints = createHints({ secret: "s", lifetimeMs: () => 60_000, clock });
  const placement = createPlacement({ registry, log });
  const { verifier, token } = await testIssuer(clock);
  const { interceptors } = serverInterceptors({
    log,
    metrics: new Metrics(),
    clock,
    verifier,
  });
  const served = [serve(EndpointService, endpointService({ placement, hints }))];
  const client = createClient(EndpointService, localTransport(served, interceptors));
  const headers = { authorization: `Bearer ${await token()}` };
  const resolve = async () => (await client.resolveEndpoint({}, { headers })).url;
  return { resolve, client, leases, hints };
}

test("a user without sessions gets the least loaded instance", async (t) => {
  const { resolve, hints } = await setUp(t, ["", ""]);
  const url = new URL(await resolve(), "http://gateway");
  assert.equal(url.pathname, "/ws");
  assert.equal(hints.open(url.searchParams.get("hint")!), "connect-0");
});

test("a user with sessions gets the instance that has them", async (t) => {
  const { resolve, leases, hints } = await setUp(t, ["", ""]);
  await leases[1]!.join([userChannel("1")]);
  const url = new URL(await resolve(), "http://gateway");
  assert.equal(hints.open(url.searchParams.get("hint")!), "connect-1");
});

for (const [publicAddress, url] of [
  ["https://connect.example.org", "wss://connect.example.org/ws"],
  ["ws://10.0.0.7:19000", "ws://10.0.0.7:19000/ws"],
  ["wss://example.org/connect/0/ws", "wss://example.org/connect/0/ws"],
] as const) {
  test(`the answer for an instance with the address ${publicAddress} is its own URL`, async (t) => {
    const { resolve } = await setUp(t, [publicAddress]);
    assert.equal(await resolve(), url);
  });
}

test("without an instance the answer is UNAVAILABLE", async (t) => {
  const { resolve } = await setUp(t, []);
  await assert.rejects(resolve(), (error) => reasonOf(error) === ErrorReason.UNAVAILABLE);
});

test("without a token the call is refused", async (t) => {
  const { client } = await setUp(t, [""]);
  await assert.rejects(
    client.resolveEndpoint({}),
    (error) => reasonOf(error) === ErrorReason.TOKEN_INVALID,
  );
});
