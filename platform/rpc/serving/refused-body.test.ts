import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { CALL, closed, dial, start } from "./listen.fixture.ts";

const BODY = "x".repeat(600 * 1024);
/** Longer than any time-out for the rest of a request. */
const LATER_MS = 60_000;

/** Head of a request with a body that the server refuses. */
function head(...headers: string[]): string {
  return [
    `POST ${CALL} HTTP/1.1`,
    "Host: lucky",
    `Content-Length: ${BODY.length}`,
    ...headers,
    "\r\n",
  ].join("\r\n");
}

const JSON_TYPE = "Content-Type: application/json";
const refusals: Record<string, [number, string]> = {
  "a body that is too large": [400, head(JSON_TYPE)],
  "an unknown content type": [415, head("Content-Type: text/html")],
  "an unknown compression": [501, head(JSON_TYPE, "Content-Encoding: zip")],
  "a call without a token": [
    401,
    head(JSON_TYPE).replace(CALL, "/lucky.user.v1.UserService/BatchGetUsers"),
  ],
  "a malformed time-out": [400, head(JSON_TYPE, "Connect-Timeout-Ms: soon")],
};

/** Reads answers of a kept connection, one at a time. */
function answers(socket: Socket): (part: RegExp) => Promise<void> {
  let seen = "";
  let changed = () => {};
  socket.on("data", (chunk) => {
    seen += chunk;
    changed();
  });
  socket.on("close", () => changed());
  return async (part) => {
    for (let found = part.exec(seen); ; found = part.exec(seen)) {
      if (found) {
        seen = seen.slice(found.index + found[0].length);
        return;
      }
      assert.equal(socket.closed, false, `closed before ${part}: ${seen.slice(0, 200)}`);
      await new Promise<void>((resolve) => {
        changed = resolve;
      });
    }
  };
}

const GOOD_CALL = `${head(JSON_TYPE).replace(String(BODY.length), "2")}{}`;
const UPGRADE =
  "GET /ws HTTP/1.1\r\nHost: lucky\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

for (const [name, [status, refused]] of Object.entries(refusals)) {
  test(`the connection of ${name} stays open for good calls and a WebSocket`, async (t) => {
    const clock = new ManualClock();
    const running = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<object>();
    let calls = 0;
    const { port } = await start(t, {
      clock,
      service: {
        auth: {
          getJwks() {
            calls++;
            if (calls === 1) return { jwksJson: "first" };
            running.resolve();
            return answered.promise;
          },
        },
      },
      onUpgrade(_req, upgraded) {
        upgraded.write("upgraded");
        upgraded.pipe(upgraded);
      },
    });
    const socket = await dial(port);
    const receive = answers(socket);
    socket.write(refused);
    // An answer that does not depend on the body comes before it; the other one during it.
    if (name !== "a body that is too large")
      await receive(new RegExp(`^HTTP/1.1 ${status} .*?\r\n\r\n`, "s"));
    socket.write(BODY);
    if (name === "a body that is too large") await receive(/^HTTP\/1.1 400 .*?\r\n\r\n/s);
    socket.write(GOOD_CALL);
    await receive(/HTTP\/1.1 200 OK.*first"}/s);
    socket.write(GOOD_CALL);
    await running.promise;
    clock.advance(LATER_MS);
    answered.resolve({ jwksJson: "second" });
    await receive(/HTTP\/1.1 200 OK.*second"}/s);
    socket.write(UPGRADE);
    await receive(/upgraded/);
    clock.advance(LATER_MS);
    socket.write("still here");
    await receive(/still here/);
    socket.destroy();
  });
}

test("the connection of a refused request whose body never ends is closed", async (t) => {
  const clock = new ManualClock();
  const { port } = await start(t, { clock });
  const socket = await dial(port);
  const receive = answers(socket);
  socket.write(head("Content-Type: text/html"));
  await receive(/^HTTP\/1.1 415 /);
  socket.write("x");
  while (clock.waiting === 0) await new Promise(setImmediate);
  clock.advance(2_000);
  await closed(socket);
});
