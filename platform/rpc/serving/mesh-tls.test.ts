import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { type AddressInfo, connect as connectTcp } from "node:net";
import { after, type TestContext, test } from "node:test";
import { connect as connectTls, createServer } from "node:tls";
import { createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { systemClock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import { loadMeshTls, type MeshTls } from "#platform/mesh-tls.ts";
import { fixedTransport } from "#platform/rpc/calling/remote.ts";
import { GATEWAY_SECRET, testCallers, testService } from "#platform/rpc/rpc.fixture.ts";
import { testAuthority } from "../../../test/tls/certificates.ts";
import { closed, exchange, post } from "./listen.fixture.ts";
import { listen } from "./listen.ts";

/** Lines that the listener logged. */
const lines: Record<string, unknown>[] = [];
const log = createLog({
  service: "auth",
  instanceId: "auth-0",
  level: "warn",
  stream: {
    write: (line: string) => {
      lines.push(JSON.parse(line));
    },
  },
});
let calls = 0;
const { served, interceptors } = await testService({
  auth: {
    getJwks() {
      calls += 1;
      return { jwksJson: "{}" };
    },
  },
});
const authority = await testAuthority({ after });
const auth = await authority.issue("auth");
const gateway = loadMeshTls(await authority.issue("gateway"));
const local = { host: "127.0.0.1", port: 0, served, interceptors, log, graceMs: 100 };
/** One listener of auth with TLS, for all tests. */
const server = await listen({ ...local, mesh: testCallers, tls: loadMeshTls(auth) });
after(() => server.close());

/** Calls auth as the gateway; returns the answer, or the reason of the failure. */
async function call(
  t: TestContext,
  { tls, lean, port = server.port }: { tls: MeshTls | undefined; lean: boolean; port?: number },
): Promise<string | undefined> {
  const transport = fixedTransport({
    service: "auth",
    secret: GATEWAY_SECRET,
    tls,
    lean,
    address: `http://127.0.0.1:${port}`,
    log,
    clock: systemClock,
  });
  t.after(() => transport.close());
  return createClient(AuthService, transport)
    .getJwks({})
    .then(
      ({ jwksJson }) => jwksJson,
      (error: unknown) => ErrorReason[reasonOf(error)],
    );
}

for (const [name, lean] of [
  ["gRPC", false],
  ["a lean link", true],
] as const) {
  test(`over TLS, ${name} carries calls between services with certificates`, async (t) => {
    assert.equal(await call(t, { tls: gateway, lean }), "{}");
  });

  test(`over TLS, ${name} is refused with a certificate of another authority`, async (t) => {
    const others = await testAuthority(t);
    const foreign = await others.issue("gateway");
    // The caller trusts our authority, so only the listener can refuse.
    const tls = loadMeshTls({ ...foreign, caFile: auth.caFile });
    const callsBefore = calls;
    assert.equal(await call(t, { tls, lean }), "UNAVAILABLE");
    assert.equal(calls, callsBefore);
  });

  test(`over TLS, ${name} is refused in plain text`, async (t) => {
    const callsBefore = calls;
    assert.equal(await call(t, { tls: undefined, lean }), "UNAVAILABLE");
    assert.equal(calls, callsBefore);
  });

  test(`${name} sends no secret to an instance whose certificate names another service`, async (t) => {
    let received = 0;
    const tls = loadMeshTls(await authority.issue("connect"));
    const impostor = createServer(tls.serverOptions, (socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        received += chunk.length;
      });
    });
    impostor.on("tlsClientError", () => {});
    impostor.listen(0, "127.0.0.1");
    await once(impostor, "listening");
    t.after(() => impostor.close());
    const { port } = impostor.address() as AddressInfo;
    assert.equal(await call(t, { tls: gateway, lean, port }), "UNAVAILABLE");
    assert.equal(received, 0);
  });
}

test("over TLS, a caller without a certificate is refused and logged", async () => {
  const linesBefore = lines.length;
  const socket = connectTls({
    port: server.port,
    host: "127.0.0.1",
    servername: "auth",
    rejectUnauthorized: false,
  });
  socket.on("error", () => {});
  socket.write(post);
  let received = 0;
  socket.on("data", (chunk) => {
    received += chunk.length;
  });
  await closed(socket);
  assert.equal(received, 0);
  const [line] = lines.slice(linesBefore);
  assert.equal(line?.event, "tls_refused");
  assert.equal(line?.reason, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
});

test("over TLS, an HTTP request in plain text gets no HTTP answer", async () => {
  assert.doesNotMatch(await exchange(server.port, post), /HTTP/);
});

test("over TLS, a stop does not wait for a handshake", async () => {
  const own = await listen({ ...local, tls: loadMeshTls(auth) });
  const silent = connectTcp(own.port, "127.0.0.1");
  silent.on("error", () => {});
  await once(silent, "connect");
  await own.close();
  await closed(silent);
});

test("files that cannot be read or do not belong together are errors for operators", async () => {
  const { certFile, caFile } = auth;
  const { keyFile } = await authority.issue("other");
  const missing = { certFile, keyFile: "/nowhere/key.pem", caFile };
  assert.throws(
    () => loadMeshTls(missing),
    /^Error: The TLS file \/nowhere\/key\.pem cannot be read/,
  );
  assert.throws(
    () => loadMeshTls({ certFile, keyFile, caFile }),
    /is not valid: .*key values mismatch/,
  );
  await writeFile(keyFile, "no key");
  assert.throws(() => loadMeshTls({ certFile, keyFile, caFile }), /is not valid: /);
});
