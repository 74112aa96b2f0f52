import { text } from "node:stream/consumers";
import type { Attack } from "./attack.ts";
import { requireNoInternal, within } from "./finding.ts";
import { mutate, type Random } from "./random.ts";

const REQUESTS = 4;

const START_LINES = [
  "POST /lucky.auth.v1.AuthService/GetJwks HTTP/1.1",
  "POST /lucky.user.v1.UserService/GetUser HTTP/1.1",
  "GET /lucky.user.v1.UserService/GetUser?connect=v1&encoding=json&message=%7B%7D HTTP/1.1",
  "GET /ws HTTP/1.1",
  "GET / HTTP/1.1",
  "OPTIONS * HTTP/1.1",
  "CONNECT lucky:443 HTTP/1.1",
  "POST http://[:: HTTP/1.1",
  "POST //[/lucky.auth.v1.AuthService/GetJwks HTTP/1.1",
  "GET /%ff%00 HTTP/1.0",
  "GET / HTTP/9.9",
  "PRI * HTTP/1.1",
  "PRI * HTTP/2.0",
  "LUCKY-LINK/1",
];

const HEADERS = [
  "Host: lucky",
  "Host: [",
  "Host:",
  "Content-Type: application/json",
  "Content-Type: application/grpc",
  "Content-Length: 2",
  "Content-Length: 0",
  "Content-Length: -1",
  "Content-Length: 99999999999999999999",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: gzip, chunked",
  "Expect: 100-continue",
  "Expect: a miracle",
  "Connection: Upgrade",
  "Connection: close",
  "Connection: keep-alive, TE",
  "Upgrade: websocket",
  "Upgrade: h2c",
  "HTTP2-Settings: AAMAAABkAAQAAP__",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Key: x",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Protocol: lucky.v1",
  "X-Forwarded-For: , ,10.0.0.1:99999, [::1]:1, unknown",
  "Authorization: Bearer",
  "Cookie: a=b",
  "Trailer: x",
  " folded",
  ": empty",
  "no colon",
];

const BODIES = [
  "",
  "{}",
  "2\r\n{}\r\n0\r\n\r\n",
  "2;x=y\r\n{}\r\n0\r\nx: y\r\n\r\n",
  "fffffffff\r\n{}",
  "-1\r\n",
  "\0",
];

function requestOf(random: Random): Buffer {
  const lines = [random.pick(START_LINES), "Host: lucky"];
  for (let i = random.below(8); i > 0; i--) lines.push(random.pick(HEADERS));
  if (random.once(40)) lines.push(...Array.from({ length: 150 }, (_, at) => `x-${at}: ${at}`));
  if (random.once(40)) lines.push(`X-Long: ${"x".repeat(20_000)}`);
  const bytes = Buffer.from(`${lines.join("\r\n")}\r\n\r\n${random.pick(BODIES)}`);
  return random.once(3) ? mutate(random, bytes) : bytes;
}

/** Requests over HTTP/1.1 with faults in their framing, several on one connection. */
export const http1Bytes: Attack = {
  name: "HTTP/1.1 framing",
  inputs: REQUESTS,
  async run(random, { target }) {
    const bytes = Buffer.concat(Array.from({ length: REQUESTS }, () => requestOf(random)));
    const socket = await target.dial(random.once(4) ? target.connectPort : target.port);
    const input = `bytes of HTTP/1.1: ${bytes.toString("base64")}`;
    try {
      const cut = random.below(bytes.length);
      if (random.once(2)) socket.write(bytes.subarray(0, cut));
      // Turns of the event loop between two writes: they may arrive apart.
      await new Promise(setImmediate);
      socket.end(socket.bytesWritten > 0 ? bytes.subarray(cut) : bytes);
      const answer = await within(
        text(socket).catch(() => ""),
        input,
      );
      requireNoInternal(answer, input);
    } finally {
      socket.destroy();
    }
  },
};
