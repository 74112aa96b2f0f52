import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import type { DescService } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import {
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { ClientAddressFinder } from "#platform/client-address.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { RequestBodies } from "#platform/rpc/bodies/request-bodies.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { isInternal } from "#platform/rpc/rules.ts";
import type { Served } from "#platform/rpc/served.ts";
import { cutUnread } from "./answer-timeout.ts";
import { COMPRESS_MIN_BYTES, createCompressions } from "./compression.ts";
import { callHandler, markDecoded } from "./decode-errors.ts";

export type NodeRequest = IncomingMessage | Http2ServerRequest;
export type NodeResponse = ServerResponse | Http2ServerResponse;

/**
 * Maximum bytes of a request and of each message in it, for public and for internal services. A
 * request is decoded in one step before its caller is authenticated; 4 MiB of small items take 0.4
 * to 0.8 s (measured). The largest content of a device is 64 KiB, which takes at most six times
 * that in JSON. The largest batch between services is 1 MiB.
 */
const MAX_READ_BYTES = 512 * 1024;
const MAX_INTERNAL_READ_BYTES = 4 * 1024 * 1024;

/** Time-out for the remaining bytes of a request that was answered before its end, ms. */
const REST_TIMEOUT_MS = 2_000;

export interface HandlerOptions {
  readonly served: readonly Served[];
  readonly interceptors: readonly Interceptor[];
  readonly log: Log;
  readonly clock: Clock;
  /** Ends open streams when it aborts; its reason is their error. */
  readonly stop: AbortSignal;
  readonly clientAddress: ClientAddressFinder;
  /** Reads the bodies of requests. */
  readonly bodies: RequestBodies;
}

/**
 * Answers RPCs over gRPC, gRPC-Web and Connect. Returns false, without an answer, when the path is
 * not an RPC of the served services. Never throws.
 */
export function rpcHandler(
  options: HandlerOptions,
): (req: NodeRequest, res: NodeResponse) => boolean {
  const { served, interceptors, log, clock, stop, clientAddress, bodies } = options;
  const router = createConnectRouter({
    interceptors: [markDecoded, ...interceptors],
    acceptCompression: createCompressions(),
    compressMinBytes: COMPRESS_MIN_BYTES,
  });
  for (const { service, implementation } of served) {
    router.service(service, implementation, { readMaxBytes: maxBytesOf(service) });
  }
  const paths = new Map<string, UniversalHandler>();
  for (const handler of router.handlers) paths.set(handler.requestPath, handler);

  async function answer(handler: UniversalHandler, req: NodeRequest, res: NodeResponse) {
    const values = createContextValues().set(peerAddress, clientAddress(req));
    const request = universalRequestFromNodeRequest(req, res, undefined, values);
    const written = "stream" in res ? res.stream : res;
    const { requestPath: path, service } = handler;
    const bounded = bodies.bounded({ source: req, request, maxBytes: maxBytesOf(service), path });
    // A stop waits for unary calls in flight. Streams are aborted, because they could last for
    // ever.
    const unary = handler.method.methodKind === "unary";
    const signal = unary ? request.signal : AbortSignal.any([request.signal, stop]);
    const response = await callHandler(handler, { ...bounded, signal });
    if (unary) cutUnread(written, clock);
    await universalResponseToNodeResponse(response, res);
  }

  return (req, res) => {
    // Also a request that is not an RPC: node:http2 leaves its stream open while more bytes wait than
    // the window has room for.
    const written = "stream" in res ? res.stream : res;
    written.once("finish", () => readRest(req, res, clock));
    const handler = paths.get(req.url?.split("?", 1)[0] ?? "");
    if (handler === undefined) return false;
    answer(handler, req, res).catch((err: unknown) => {
      const { code } = ConnectError.from(err);
      // The caller disconnected: the interceptor has logged the call already.
      if (code !== Code.Aborted && code !== Code.Canceled) {
        log.info({ event: "rpc_not_answered", path: handler.requestPath, err });
      }
      refuse(res, 400);
    });
    return true;
  };
}

function maxBytesOf(service: DescService): number {
  return isInternal(service) ? MAX_INTERNAL_READ_BYTES : MAX_READ_BYTES;
}

/**
 * Reads and drops the remaining bytes of a request that was answered before its end, for example
 * because it is too large. Some clients read the answer only after they have sent everything.
 * Others stop sending without closing: the request ends after a time-out.
 */
function readRest(req: NodeRequest, res: NodeResponse, clock: Clock): void {
  if (req.readableEnded || req.destroyed) return;
  const timer = clock.after(REST_TIMEOUT_MS, () => {
    if ("stream" in res) res.stream.close(constants.NGHTTP2_NO_ERROR);
    else req.destroy();
  });
  // A request of HTTP/1.1 that was read whole has an end but no close while its connection lives. The
  // timer must not outlive it: the connection may carry other calls or a WebSocket by then.
  req.once("end", () => timer.stop());
  req.once("close", () => timer.stop());
  // A reader that stopped early may still have a listener, which would pause the stream. Its removal
  // also pauses the stream, unless there is a listener for data: then the end would never come.
  req.removeAllListeners("readable");
  req.on("data", () => {});
  req.resume();
}

/** Answers with a bare status, unless an answer has begun already. */
export function refuse(res: NodeResponse, status: number): void {
  if (!res.headersSent) res.statusCode = status;
  // The two kinds of response have no signature of `end` in common.
  if ("stream" in res) res.end();
  else res.end();
}
