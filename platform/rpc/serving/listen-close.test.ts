import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectError, createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { untilAborted } from "#platform/rpc/rpc.fixture.ts";
import { closed, dial, protocols, start } from "./listen.fixture.ts";

for (const protocol of ["gRPC", "Connect over HTTP/1.1"]) {
  test(`close waits for a ${protocol} call in flight and accepts no new connection`, async (t) => {
    const began = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<object>();
    const { server, address, port } = await start(t, {
      graceMs: 60_000,
      service: {
        auth: {
          getJwks() {
            began.resolve();
            return answer.promise;
          },
        },
      },
    });
    const idle = await dial(port);
    const client = createClient(AuthService, protocols[protocol]!(address));
    const running = client.getJwks({});
    await began.promise;
    const end = server.close();
    await closed(idle);
    await assert.rejects(dial(port), /ECONNREFUSED/);
    answer.resolve({ jwksJson: "done" });
    assert.equal((await running).jwksJson, "done");
    await end;
    await server.close();
  });
}

test("close does not wait for idle connections, and waits at most the grace for busy ones", async (t) => {
  const began = Promise.withResolvers<void>();
  const { server, address, port } = await start(t, {
    graceMs: 50,
    service: {
      auth: {
        getJwks(_request, { signal }) {
          began.resolve();
          return untilAborted(signal);
        },
        getPublicKey: () => ({}),
      },
    },
    onUpgrade: () => {},
  });
  const keptAlive = createClient(AuthService, protocols["Connect over HTTP/1.1"]!(address));
  await keptAlive.getPublicKey({});
  const webSocket = await dial(port);
  webSocket.write(
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  );
  const stuck = createClient(AuthService, protocols.gRPC!(address)).getJwks({});
  const outcome = stuck.catch((thrown: unknown) => thrown);
  await began.promise;
  await server.close();
  assert.ok((await outcome) instanceof ConnectError);
  await closed(webSocket);
});
