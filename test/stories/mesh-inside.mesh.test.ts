import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createClient, type Transport } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { systemClock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import { loadMeshTls, type MeshTls } from "#platform/mesh-tls.ts";
import { createRedisRegistry } from "#platform/registry/redis.ts";
import { remoteTransport } from "#platform/rpc/calling/remote.ts";
import type { ServiceName } from "#platform/service-name.ts";
import { testAuthority } from "../tls/certificates.ts";
import { people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 240_000;
const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });
const authority = await testAuthority({ after });
// All processes of this mesh share one certificate, which names each of them.
const files = await authority.issue("auth", "connect", "gateway", "server");
const secrets = { connect: "c".repeat(32), gateway: "g".repeat(32), server: "s".repeat(32) };
const world = await startWorld(
  { after },
  {
    mode: "mesh",
    settings: {
      LUCKY_CONNECT_SECRET: secrets.connect,
      // The second value is the new one of a rotation: both are accepted.
      LUCKY_GATEWAY_SECRET: `${secrets.gateway},${"n".repeat(32)}`,
      LUCKY_SERVER_SECRET: secrets.server,
      LUCKY_MESH_TLS_CERT_FILE: files.certFile,
      LUCKY_MESH_TLS_KEY_FILE: files.keyFile,
      LUCKY_MESH_TLS_CA_FILE: files.caFile,
    },
  },
);
const clock = systemClock;
const registry = createRedisRegistry({ url: world.mesh.backends.redis.url, clock, log });
after(() => registry.close());

/** A transport to a service, for a caller with the secret. */
function transportTo(
  service: ServiceName,
  { secret, lean, tls }: { secret: string; lean: boolean; tls: MeshTls | undefined },
): Transport {
  const transport = remoteTransport({ registry, service, secret, lean, tls, log, clock });
  after(() => transport.close());
  return transport;
}

/** The outcome of a call: "ok", or the reason of its failure. */
function outcomeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "ok",
    (error: unknown) => ErrorReason[reasonOf(error)],
  );
}

test("messages pass through a mesh whose inner links are TLS", { timeout: TIMEOUT }, async () => {
  const [ana, ben] = await people(world, "ana", "ben");
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await Promise.all([a.client.connect(), b.client.connect()]);
  await a.client.send({ userId: ben!.userId }, "hi");
  await b.until(() => b.texts().includes("hi"));
  await Promise.all([ana!.closeDevices(), ben!.closeDevices()]);
});

test("a service calls only the internal methods that name it", { timeout: TIMEOUT }, async () => {
  const tls = loadMeshTls(files);
  const PERMISSION_DENIED = "PERMISSION_DENIED";
  for (const lean of [false, true]) {
    for (const [caller, append, read, check, policy] of [
      ["connect", "ok", "ok", PERMISSION_DENIED, "ok"],
      ["gateway", PERMISSION_DENIED, PERMISSION_DENIED, PERMISSION_DENIED, PERMISSION_DENIED],
    ] as const) {
      const secret = secrets[caller];
      const ingress = createClient(IngressService, transportTo("server", { secret, lean, tls }));
      const sessions = createClient(SessionService, transportTo("auth", { secret, lean, tls }));
      const name = `${caller}, ${lean ? "lean link" : "gRPC"}`;
      assert.equal(await outcomeOf(ingress.appendBatch({})), append, name);
      assert.equal(await outcomeOf(ingress.readEntries({})), read, name);
      assert.equal(await outcomeOf(sessions.checkUsers({})), check, name);
      assert.equal(await outcomeOf(sessions.getDevicePolicy({})), policy, name);
      assert.equal(await outcomeOf(sessions.listRevocations({})), "ok", name);
    }
  }
});

test("the new secret of a rotation is accepted before its service presents it", {
  timeout: TIMEOUT,
}, async () => {
  const secret = "n".repeat(32);
  const options = { secret, lean: true, tls: loadMeshTls(files) };
  const sessions = createClient(SessionService, transportTo("auth", options));
  assert.equal(await outcomeOf(sessions.listRevocations({})), "ok");
});

test("a caller without TLS cannot reach a service", { timeout: TIMEOUT }, async () => {
  for (const lean of [false, true]) {
    const options = { secret: secrets.connect, lean, tls: undefined };
    const ingress = createClient(IngressService, transportTo("server", options));
    assert.equal(await outcomeOf(ingress.appendBatch({})), "UNAVAILABLE");
  }
});
