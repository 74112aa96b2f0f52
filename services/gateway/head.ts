import type { IncomingMessage } from "node:http";
import { PEER_HEADER } from "#platform/rpc/peer.ts";

/** The HTTP answer to a refused upgrade; the connection closes after it. */
export function refusal(status: string, text: string): string {
  const body = `${text}\n`;
  return [
    `HTTP/1.1 ${status}`,
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
    "Sec-WebSocket-Version: 13",
    "",
    body,
  ].join("\r\n");
}

/**
 * The head of a request for a connect instance: every header as received, with two exceptions. The
 * peer's address is appended to X-Forwarded-For. `peer` replaces lucky-peer, which only the gateway
 * may set; a value from the device is dropped.
 */
export function requestHead(request: IncomingMessage, peer: string | undefined): string {
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`];
  const forwarded: string[] = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    const name = request.rawHeaders[at]!;
    const value = request.rawHeaders[at + 1]!;
    const known = name.toLowerCase();
    if (known === "x-forwarded-for") forwarded.push(value);
    else if (known !== PEER_HEADER) lines.push(`${name}: ${value}`);
  }
  if (request.socket.remoteAddress) forwarded.push(request.socket.remoteAddress);
  lines.push(`X-Forwarded-For: ${forwarded.join(", ")}`);
  if (peer !== undefined) lines.push(`${PEER_HEADER}: ${peer}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** The token of an `Authorization: Bearer` header; undefined when there is none. */
export function bearerOf(request: IncomingMessage): string | undefined {
  return /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
}
