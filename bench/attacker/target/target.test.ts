import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { Target } from "./target.ts";

test("an attack connects from an address of its own, counts its bytes, and is cut at the end", async (t) => {
  const server = createServer();
  t.after(() => server.close());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const target = new Target(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const accepted = once(server, "connection");
  target.connect().write("hello");
  const [socket] = (await accepted) as [Socket];
  assert.equal(socket.remoteAddress, "127.0.0.2");
  await once(socket, "data");
  await target.close();
  assert.deepEqual(target.tally.figures.counts, {
    connections: 1,
    most_open: 1,
    bytes_sent: 5,
    bytes_received: 0,
    open_at_end: 1,
  });
});

test("a server on another machine is no target", () => {
  for (const host of ["192.0.2.1", "localhost", "127.evil.example"])
    assert.throws(() => new Target(`http://${host}:80`), /is not on this machine/);
});
