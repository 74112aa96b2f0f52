import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { isInternal } from "#platform/rpc/rules.ts";
import type { Served } from "#platform/rpc/served.ts";
import { callHandler, markDecoded } from "./decode-errors.ts";

export type NodeRequest = IncomingMessage | Http2ServerRequest;
export type NodeResponse = ServerResponse | Http2ServerResponse;

/**
 * Largest request, and largest message within it. It is decoded at one go before anybody asks who
 * calls, 4 MiB of small items in 0.4 to 0.8 s (measured). The largest that a device has to say is
 * content of 64 KiB, at most six times that in JSON; between services it is a batch of 1 MiB.
 */
const MAX_READ_BYTES = 512 * 1024;
const MAX_INTERNAL_READ_BYTES = 4 * 1024 * 1024;

/** How long a client may go on sending a request that was answered already. */
const REST_MS = 2_000;

export interface HandlerOptions {
  readonly served: readonly Served[];
  readonly interceptors: readonly Interceptor[];
  readonly log: Log;
  readonly clock: Clock;
  /** Ends the streams in work, with its reason. */
  readonly stop: AbortSignal;
  /** Whether the address of the caller is the last one of X-Forwarded-For. */
  readonly trustForwardedFor: boolean;
}

/**
 * Answers RPCs over gRPC, gRPC-Web and Connect. Returns false when the path is no RPC of the served
 * services; then nothing was answered. Never throws.
 */
export function rpcHandler(
  options: HandlerOptions,
): (req: NodeRequest, res: NodeResponse) => boolean {
  const { served, interceptors, log, clock, stop, trustForwardedFor } = options;
  const router = createConnectRouter({
    interceptors: [markDecoded, ...interceptors],
    acceptCompression: [compressionGzip, compressionBrotli],
  });
  for (const { service, implementation } of served) {
    const readMaxBytes = isInternal(service) ? MAX_INTERNAL_READ_BYTES : MAX_READ_BYTES;
    router.service(service, implementation, { readMaxBytes });
  }
  const paths = new Map<string, UniversalHandler>();
  for (const handler of router.handlers) paths.set(handler.requestPath, handler);

  async function answer(handler: UniversalHandler, req: NodeRequest, res: NodeResponse) {
    const values = createContextValues().set(peerAddress, callerAddress(req, trustForwardedFor));
    const request = universalRequestFromNodeRequest(req, res, undefined, values);
    const written = "stream" in res ? res.stream : res;
    written.once("finish", () => readRest(req, res, clock));
    const body = req.iterator({ destroyOnReturn: false });
    // A call in work is waited for; a stream could go on for as long as its caller likes.
    const unary = handler.method.methodKind === "unary";
    const signal = unary ? request.signal : AbortSignal.any([request.signal, stop]);
    const response = await callHandler(handler, { ...request, body, signal });
    await universalResponseToNodeResponse(response, res);
  }

  return (req, res) => {
    const handler = paths.get(req.url?.split("?", 1)[0] ?? "");
    if (handler === undefined) return false;
    answer(handler, req, res).catch((err: unknown) => {
      const { code } = ConnectError.from(err);
      // The caller hung up: the call has its line in the log already.
      if (code !== Code.Aborted && code !== Code.Canceled) {
        log.info({ event: "rpc_not_answered", path: handler.requestPath, err });
      }
      refuse(res, 400);
    });
    return true;
  };
}

/**
 * Reads on, for a while, when a request was answered before its end, as when it is too large: some
 * clients see the answer only after they have sent the rest. Others stop sending without a word, so
 * that the request is given up in the end.
 */
function readRest(req: NodeRequest, res: NodeResponse, clock: Clock): void {
  if (req.readableEnded || req.destroyed) return;
  const timer = clock.after(REST_MS, () => {
    if ("stream" in res) res.stream.close(constants.NGHTTP2_NO_ERROR);
    else req.destroy();
  });
  req.once("close", () => timer.stop());
  // Whoever gave up reading may still listen, and would hold the stream.
  req.removeAllListeners("readable");
  req.resume();
}

/** Answers with a bare status, unless an answer has begun already. */
export function refuse(res: NodeResponse, status: number): void {
  if (!res.headersSent) res.statusCode = status;
  // The two kinds of response have no signature of `end` in common.
  if ("stream" in res) res.end();
  else res.end();
}

/** Where a request comes from, without the port: said by the proxy in front when it is trusted. */
export function callerAddress(req: NodeRequest, trustForwardedFor: boolean): string | undefined {
  if (trustForwardedFor) {
    const forwarded = String(req.headers["x-forwarded-for"] ?? "");
    // Only the last one was written by the proxy in front of us; the others are hearsay.
    const last = forwarded.split(",").at(-1)?.trim();
    if (last) return last;
  }
  return req.socket.remoteAddress;
}
