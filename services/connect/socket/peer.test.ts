import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { request } from "node:http";
import { test } from "node:test";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import { PEER_HEADER } from "#platform/rpc/peer.ts";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";

/** Opens and closes a WebSocket with a peer header. Returns the peer address that was logged. */
async function peerOf(harness: ConnectHarness, header: (key: string) => string | undefined) {
  const key = randomBytes(16).toString("base64");
  const peer = header(key);
  const upgrade = request(`${harness.address}/ws`, {
    headers: {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": key,
      ...(peer && { [PEER_HEADER]: peer }),
    },
  }).end();
  const [, socket] = await once(upgrade, "upgrade");
  const before = harness.events.length;
  socket.destroy();
  for (;;) {
    const end = harness.events.slice(before).find(({ event }) => event === "session_end");
    if (end) return end.peer;
    await new Promise(setImmediate);
  }
}

test("the peer address of a socket is the address that the gateway proves; an unproven address is ignored", async (t) => {
  const harness = await startConnectHarness(t);
  const proof = createPeerProof("a mesh secret of tests");
  const address = "203.0.113.7";
  assert.equal(await peerOf(harness, (key) => proof.prove({ address, key })), address);
  assert.equal(await peerOf(harness, () => undefined), "127.0.0.1");
  assert.equal(await peerOf(harness, () => address), "127.0.0.1");
  assert.equal(await peerOf(harness, () => proof.prove({ address, key: "other" })), "127.0.0.1");
  const forged = createPeerProof("another secret");
  assert.equal(await peerOf(harness, (key) => forged.prove({ address, key })), "127.0.0.1");
});
