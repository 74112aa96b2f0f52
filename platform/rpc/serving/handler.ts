import { constants } from "node:http2";
import {
  Code,
  ConnectError,
  type ContextValues,
  createConnectRouter,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import type {
  UniversalHandler,
  UniversalServerRequest,
  UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import {
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { ProxyChain } from "#platform/client-address.ts";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { boundedBody } from "#platform/rpc/bodies/message-bounds.ts";
import type { RequestBodies } from "#platform/rpc/bodies/request-bodies.ts";
import { type Door, floodKey } from "#platform/rpc/interceptors/door.ts";
import { createLineSampler } from "#platform/rpc/interceptors/line-sampler.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { ruleBook, rulesOf } from "#platform/rpc/rules.ts";
import type { Served } from "#platform/rpc/served.ts";
import { createRequestBound } from "#platform/validation/request-bound.ts";
import { cutUnread } from "./answer-timeout.ts";
import { COMPRESS_MIN_BYTES, createCompressions } from "./compression.ts";
import { callHandler, markDecoded, wasDecoded } from "./decode-errors.ts";
import {
  answerError,
  errorResponse,
  type NodeRequest,
  type NodeResponse,
  noSuchMethod,
} from "./error-answer.ts";

/** Content types of the protocols that the port serves. */
const RPC_TYPE = /^application\/(?:grpc|connect|json|proto)\b/i;

/** Time-out for the remaining bytes of a request that was answered before its end, ms. */
const REST_TIMEOUT_MS = 2_000;

export interface HandlerOptions {
  readonly served: readonly Served[];
  readonly interceptors: readonly Interceptor[];
  /** Decides about calls before their requests are read; none when absent. */
  readonly door: Door | undefined;
  readonly log: Log;
  readonly clock: Clock;
  /** Ends open streams when it aborts; its reason is their error. */
  readonly stop: AbortSignal;
  readonly proxies: ProxyChain;
  /** Reads the bodies of requests. */
  readonly bodies: RequestBodies;
  /** Answers requests that are not RPCs; none when absent. */
  readonly pages: AnswerPage | undefined;
}

/** Answers a request over any version of HTTP. Returns false, without an answer, for other paths. */
export type AnswerPage = (req: NodeRequest, res: NodeResponse) => boolean;

/**
 * Answers RPCs over gRPC, gRPC-Web and Connect. Returns false, without an answer, when the path is
 * neither an RPC nor a page, unless its address had too many refusals. Never throws.
 */
export function rpcHandler(
  options: HandlerOptions,
): (req: NodeRequest, res: NodeResponse) => boolean {
  const { served, interceptors, door, log, clock, stop, proxies, bodies, pages } = options;
  const router = createConnectRouter({
    interceptors: [markDecoded, ...interceptors],
    acceptCompression: createCompressions(),
    compressMinBytes: COMPRESS_MIN_BYTES,
  });
  for (const { service, implementation } of served) {
    // The library has one maximum for all methods of a service, the contract one for each method.
    for (const method of service.methods) {
      const readMaxBytes = rulesOf(method).maxRequestBytes;
      router.service({ ...service, methods: [method] }, implementation, { readMaxBytes });
    }
  }
  const paths = new Map<string, UniversalHandler>();
  for (const handler of router.handlers) paths.set(handler.requestPath, handler);
  const rules = ruleBook();
  const bound = createRequestBound();
  const sampler = createLineSampler({ log, clock });

  const arrivalOf = (req: NodeRequest) =>
    createContextValues().set(peerAddress, proxies.clientAddress(req));

  /** Answers a call that the door admits. The request of any other call is not read. */
  async function respond(
    handler: UniversalHandler,
    request: UniversalServerRequest & {
      body: AsyncIterable<Uint8Array>;
      contextValues: ContextValues;
    },
    close: () => boolean,
  ): Promise<UniversalServerResponse> {
    const { method } = handler;
    const { header, contextValues, signal } = request;
    try {
      await door?.admit({ method, header, contextValues, signal });
    } catch (refusal) {
      // The caller gets no answer, because it would not stop for one.
      if (contextValues.get(floodKey) && close()) {
        throw new ConnectError("a flood of refused calls", Code.Canceled);
      }
      return errorResponse(header.get("content-type"), refusal as ConnectError);
    }
    const { maxRequestBytes: maxBytes, maxRequestItems: maxItems } = rules(method);
    const form = { schema: method.input, header, maxBytes, maxItems, bound };
    const body = boundedBody(request.body, form);
    const response = await callHandler(handler, { ...request, body });
    if (!wasDecoded(contextValues) && !signal.aborted) door?.countRefusal(contextValues);
    return response;
  }

  /**
   * Answers a request for a page. Refuses a call of an unknown method, and any request when its address had
   * too many refusals. Returns false for other requests. An answer of 404 counts as a refusal.
   */
  function answerUnknown(req: NodeRequest, res: NodeResponse): boolean {
    const address = proxies.clientAddress(req);
    const retryAfterMs = door?.waitMs(address) ?? 0;
    if (door !== undefined && retryAfterMs > 0) {
      void door.turn(address).then((inTurn) => {
        if (!inTurn && hangUp(req, proxies)) return;
        const text = "too many refused calls";
        answerError(req, res, fail(ErrorReason.RATE_LIMITED, text, { retryAfterMs }));
      });
      return true;
    }
    const values = arrivalOf(req);
    let refused = false;
    res.once("finish", () => {
      if (refused || res.statusCode === 404) door?.countRefusal(values);
    });
    if (pages?.(req, res)) return true;
    if (req.method !== "POST" && !RPC_TYPE.test(req.headers["content-type"] ?? "")) return false;
    refused = true;
    answerError(req, res, noSuchMethod(), 404);
    return true;
  }

  async function answer(handler: UniversalHandler, req: NodeRequest, res: NodeResponse) {
    const values = arrivalOf(req);
    const request = universalRequestFromNodeRequest(req, res, undefined, values);
    const written = "stream" in res ? res.stream : res;
    const { method, requestPath: path } = handler;
    const { maxRequestBytes: maxBytes } = rules(method);
    // A stop waits for unary calls in flight. Streams are aborted, because they could last for
    // ever.
    const unary = method.methodKind === "unary";
    const signal = unary ? request.signal : AbortSignal.any([request.signal, stop]);
    const body = { source: req, request, maxBytes, path };
    const takesStream = method.methodKind === "bidi_streaming";
    const bounded = takesStream ? bodies.streamed(body, signal) : bodies.bounded(body);
    const call = { ...bounded, signal, contextValues: values };
    const response = await respond(handler, call, () => hangUp(req, proxies));
    if (unary || takesStream) cutUnread(written, clock);
    await universalResponseToNodeResponse(response, res);
  }

  return (req, res) => {
    // Also needed for a request that is not an RPC: node:http2 keeps its stream open while more bytes
    // wait than the window has room for.
    const written = "stream" in res ? res.stream : res;
    written.once("finish", () => readRest(req, res, clock));
    const handler = paths.get(req.url?.split("?", 1)[0] ?? "");
    if (handler === undefined) return answerUnknown(req, res);
    answer(handler, req, res).catch((err: unknown) => {
      const { code } = ConnectError.from(err);
      // The caller disconnected: the interceptor has logged the call already.
      if (code !== Code.Aborted && code !== Code.Canceled) {
        const { requestPath: path } = handler;
        if (sampler.admit({ level: "info", method: path, reason: "rpc_not_answered" }))
          log.info({ event: "rpc_not_answered", path, err });
        door?.countRefusal(arrivalOf(req));
      }
      answerError(req, res, fail(ErrorReason.INVALID_ARGUMENT, "the request cannot be read"));
    });
    return true;
  };
}

/**
 * Closes the connection of a request, and returns true. Returns false for the connection of a
 * trusted proxy: it may carry the calls of other clients.
 */
function hangUp(req: NodeRequest, proxies: ProxyChain): boolean {
  const { remoteAddress } = req.socket;
  if (remoteAddress !== undefined && proxies.isProxy(remoteAddress)) return false;
  if ("stream" in req) req.stream.session?.destroy();
  else req.destroy();
  return true;
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
