import assert from "node:assert/strict";
import { once } from "node:events";
import { constants, createServer } from "node:http2";
import { type AddressInfo, connect } from "node:net";
import { test } from "node:test";
import { HTTP2_START } from "../../../test/http2/frames.ts";
import { closedByServer, resetRequests } from "./raw-http2.ts";

test("a server sees the requests, each reset by the client", async (t) => {
  const server = createServer();
  t.after(() => server.close());
  server.on("sessionError", () => {}); // The client cuts its connection.
  const seen: unknown[] = [];
  const last = Promise.withResolvers<void>();
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    stream.on("close", () => {
      seen.push([stream.rstCode, headers[":method"], headers[":path"], headers["content-type"]]);
      if (seen.length === 3) last.resolve();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bytes = resetRequests("/a.B/C", 3);
  const socket = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1" });
  socket.write(Buffer.concat([HTTP2_START, bytes]));
  const closed = closedByServer(socket);
  await last.promise;
  const request = [constants.NGHTTP2_CANCEL, "POST", "/a.B/C", "application/proto"];
  assert.deepEqual(seen, [request, request, request]);
  assert.ok(bytes.length < 3 * 60);
  socket.destroy();
  await closed;
});
