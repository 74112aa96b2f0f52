import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { CALL, closed, dial, start } from "./listen.fixture.ts";

/** Begins an HTTP/2 connection, and sends no request. */
const HTTP2 = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);
const PING = Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);

test("an HTTP/2 connection without a request is closed after ten seconds, despite its pings", async (t) => {
  const clock = new ManualClock();
  const { port } = await start(t, { clock });
  const socket = await dial(port);
  socket.write(HTTP2);
  await once(socket, "data");
  const gone = closed(socket);
  for (let count = 0; count < 10; count++) {
    socket.write(PING);
    await once(socket, "data");
    assert.equal(socket.closed, false);
    clock.advance(1_000);
  }
  await gone;
});

test("an HTTP/2 connection is closed when it sends no further request, despite its pings", async (t) => {
  const clock = new ManualClock();
  const { address } = await start(t, { clock, idleMs: 60_000 });
  const session = connectHttp2(address);
  t.after(() => session.destroy());
  const gone = once(session, "close");
  const call = async () => {
    const headers = { ":method": "POST", ":path": CALL, "content-type": "application/json" };
    const request = session.request(headers);
    request.end("{}");
    await text(request);
  };
  await call();
  for (let count = 0; count < 4; count++) {
    clock.advance(20_000);
    await call();
  }
  // The time-out may have been checked right before the last call.
  for (let count = 0; count < 4 && !session.destroyed; count++) {
    await new Promise((resolve) => session.ping(resolve));
    clock.advance(30_000);
    await new Promise(setImmediate);
  }
  await gone;
});
