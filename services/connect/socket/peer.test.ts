import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import { PEER_HEADER } from "#platform/rpc/peer.ts";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";

const address = "203.0.113.7";
const proof = createPeerProof(["a secret of tests"]);

/** Headers of an upgrade, each as a name and a value; "" leaves out the one of the same name. */
type Headers = readonly (readonly [name: string, value: string])[];

/** Sends an upgrade whose usual headers are replaced by those of `changed`. */
async function upgrade(harness: ConnectHarness, key: string, changed: Headers) {
  const usual: Headers = [
    ["host", "x"],
    ["connection", "Upgrade"],
    ["upgrade", "websocket"],
    ["sec-websocket-version", "13"],
    ["sec-websocket-key", key],
  ];
  const kept = usual.filter(([name]) => !changed.some(([other]) => other === name));
  const headers = [...kept, ...changed.filter(([, value]) => value !== "")];
  const socket = connect({ port: harness.port, host: "127.0.0.1" });
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  socket.write(`GET /ws HTTP/1.1\r\n${lines}\r\n`);
  const [answer] = await once(socket, "data");
  return { socket, answer: String(answer) };
}

/** Opens and closes a WebSocket with a peer header. Returns the peer address that was logged. */
async function peerOf(harness: ConnectHarness, header: (key: string) => string) {
  const key = randomBytes(16).toString("base64");
  const { socket, answer } = await upgrade(harness, key, [[PEER_HEADER, header(key)]]);
  assert.match(answer, /^HTTP\/1\.1 101 /);
  const before = harness.events.length;
  socket.destroy();
  for (;;) {
    const end = harness.events.slice(before).find(({ event }) => event === "session_end");
    if (end) return end.peer;
    await new Promise(setImmediate);
  }
}

test("the peer address of a socket is the address that the gateway proves, or else its own", async (t) => {
  const harness = await startConnectHarness(t);
  assert.equal(await peerOf(harness, (key) => proof.prove({ address, key })), address);
  assert.equal(await peerOf(harness, () => ""), "127.0.0.1");
});

test("a wrong proof of the peer address is refused", async (t) => {
  const harness = await startConnectHarness(t);
  const key = randomBytes(16).toString("base64");
  const proved = proof.prove({ address, key });
  const forged = createPeerProof(["another secret"]).prove({ address, key });
  const other = proof.prove({ address, key: "other" });
  for (const headers of [[address], [other], [forged], [" "], [proved, proved], [proved, forged]]) {
    const peers: Headers = headers.map((header) => [PEER_HEADER, header]);
    const { socket, answer } = await upgrade(harness, key, peers);
    socket.destroy();
    assert.match(answer, /^HTTP\/1\.1 400 .*lucky-peer/s, headers.join(" and "));
  }
  const warnings = harness.events.filter(({ event }) => event === "peer_proof_refused");
  // The log writes five equal lines, and counts further ones.
  assert.equal(warnings.length, 5);
  assert.equal(warnings[0]?.peer, "127.0.0.1");
});

test("an upgrade without exactly one valid key, or with another fault, is refused", async (t) => {
  const harness = await startConnectHarness(t);
  const key = randomBytes(16).toString("base64");
  const other = randomBytes(16).toString("base64");
  const name = "sec-websocket-key";
  const faults: Headers[] = [
    [[name, ""]],
    [[name, "k"]],
    [[name, "-_AAAAAAAAAAAAAAAAAAAA=="]],
    [
      [name, key],
      [name, other],
    ],
    [
      [name, key],
      [name, other],
      [PEER_HEADER, proof.prove({ address, key })],
    ],
    [["sec-websocket-version", "8"]],
    [["upgrade", "h2c"]],
    [["content-length", "5"]],
  ];
  for (const headers of faults) {
    const { socket, answer } = await upgrade(harness, key, headers);
    socket.destroy();
    assert.match(answer, /^HTTP\/1\.1 400 /, JSON.stringify(headers));
  }
});

test("the subprotocol may be offered in any of several headers", async (t) => {
  const harness = await startConnectHarness(t);
  const name = "sec-websocket-protocol";
  for (const offered of [
    ["other", "lucky.v1"],
    ["lucky.v1", "other"],
  ]) {
    const headers: Headers = offered.map((value) => [name, value]);
    const key = randomBytes(16).toString("base64");
    const { socket, answer } = await upgrade(harness, key, headers);
    socket.destroy();
    assert.match(answer, /^HTTP\/1\.1 101 .*\r\nSec-WebSocket-Protocol: lucky\.v1\r\n/s);
  }
});
