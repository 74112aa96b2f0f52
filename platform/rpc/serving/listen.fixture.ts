import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import type { Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import { type TestServiceOptions, testService } from "#platform/rpc/rpc.fixture.ts";
import { type ListenOptions, listen } from "./listen.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });
/** The answer of GetJwks: longer than one window of HTTP/2. */
export const LONG_ANSWER = "x".repeat(300_000);

type Options = Partial<ListenOptions> & { service?: TestServiceOptions };

/** A server that answers GetJwks, echoes the ids of BatchGetUsers, and refuses GetPublicKey. */
export async function start(t: TestContext, { service: methods, ...options }: Options = {}) {
  const service = await testService({
    auth: {
      getJwks: () => ({ jwksJson: LONG_ANSWER }),
      getPublicKey() {
        throw fail(ErrorReason.OVERLOADED, "busy", { retryAfterMs: 5 });
      },
    },
    user: {
      batchGetUsers: ({ userIds }) => ({ users: userIds.map((userId) => ({ userId })) }),
    },
    ...methods,
  });
  const { served, interceptors, door } = service;
  const server = await listen({
    host: "127.0.0.1",
    port: 0,
    served,
    interceptors,
    door,
    log,
    graceMs: 2_000,
    ...options,
  });
  t.after(() => server.close());
  return { ...service, server, port: server.port, address: `http://127.0.0.1:${server.port}` };
}

/** Sends bytes and keeps the socket open. Returns all received bytes when the other side ends. */
export async function exchange(port: number, ...chunks: (string | Buffer)[]): Promise<string> {
  const socket = await dial(port);
  for (const chunk of chunks) {
    socket.write(chunk);
    await new Promise(setImmediate);
  }
  return text(socket);
}

/** A connection whose reset is not reported as an error, from an address of the loopback. */
export async function dial(port: number, localAddress = "127.0.0.1"): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.on("error", () => {});
  return socket;
}

/** Resolves when the connection is closed. Bytes that still arrive are dropped. */
export function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });
}

/** Path of a call with an empty request, and the call as an HTTP/1.1 request. */
export const CALL = "/lucky.auth.v1.AuthService/GetJwks";
export const post = [
  `POST ${CALL} HTTP/1.1`,
  "Host: lucky",
  "Content-Type: application/json",
  "Content-Length: 2",
  "Connection: close",
  "",
  "{}",
].join("\r\n");

/** Every protocol that a client may use. */
export const protocols: Record<string, (baseUrl: string) => Transport> = {
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
  "gRPC-Web over HTTP/1.1": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web over HTTP/2": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
  "Connect over HTTP/1.1": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" }),
  "Connect over HTTP/2": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" }),
  "Connect in JSON": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
};
