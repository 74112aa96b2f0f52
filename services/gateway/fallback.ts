import type { IncomingMessage, ServerResponse } from "node:http";
import { answerError, noSuchMethod } from "#platform/rpc/serving/error-answer.ts";
import { SOCKET_PATH } from "./endpoint.ts";

/** Answers HTTP requests that do not call a public method, with a text for developers. */
export function answerFallback(request: IncomingMessage, response: ServerResponse): void {
  const path = request.url?.split("?", 1)[0] ?? "/";
  const text = { "content-type": "text/plain; charset=utf-8" };
  if (path === SOCKET_PATH) {
    response.writeHead(426, { ...text, connection: "upgrade", upgrade: "websocket" });
    response.end(`${SOCKET_PATH} is a WebSocket: connect with the subprotocol lucky.v1.\n`);
    return;
  }
  if (path === "/" && (request.method === "GET" || request.method === "HEAD")) {
    response.writeHead(200, text);
    response.end(
      `Lucky speaks gRPC, gRPC-Web and Connect here, and WebSocket on ${SOCKET_PATH}.\n`,
    );
    return;
  }
  answerError(request, response, noSuchMethod(), 404);
}
