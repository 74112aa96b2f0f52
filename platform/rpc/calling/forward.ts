import type { DescService } from "@bufbuild/protobuf";
import type { CallOptions, Client, HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { REQUEST_ID_HEADER } from "#platform/rpc/interceptors/observe.ts";
import { PEER_HEADER, peerAddress } from "#platform/rpc/peer.ts";
import { type Span, spanKey, traceHeaders } from "#platform/tracing/traces.ts";

/**
 * Headers that are forwarded with a call: the caller's token and the request id. All others are
 * dropped; the header of a trace is set by the span of the call alone.
 */
const FORWARDED_HEADERS = ["authorization", REQUEST_ID_HEADER];

type Unary = (request: unknown, options: CallOptions) => Promise<unknown>;
type ServerStreaming = (request: unknown, options: CallOptions) => AsyncIterable<unknown>;

/**
 * Implements a service by forwarding every call to a client of the same service, with the remaining
 * time of the caller's deadline and the caller's address. The forwarded call is cancelled when the
 * caller aborts. Errors are returned unchanged. Methods that take a stream are unimplemented.
 */
export function forward<S extends DescService>(service: S, client: Client<S>): ServiceImpl<S> {
  const methods = client as unknown as Record<string, unknown>;
  const implementation: Record<string, unknown> = {};
  for (const { localName, methodKind, name } of service.methods) {
    if (methodKind === "unary") {
      const call = methods[localName] as Unary;
      const method = `${service.typeName}/${name}`;
      implementation[localName] = (request: unknown, context: HandlerContext) => {
        const span = context.values.get(spanKey);
        if (span === undefined) return call(request, optionsOf(context));
        return traced(span, method, (step) => call(request, optionsOf(context, step)));
      };
    } else if (methodKind === "server_streaming") {
      const call = methods[localName] as ServerStreaming;
      implementation[localName] = (request: unknown, context: HandlerContext) =>
        forwardStream(call, request, context);
    }
  }
  return implementation as ServiceImpl<S>;
}

/** Makes a call in a step of its own within the span. */
async function traced<T>(span: Span, method: string, call: (step: Span) => Promise<T>): Promise<T> {
  const attributes = { "rpc.system.name": "connectrpc", "rpc.method": method };
  const step = span.child({ name: method, kind: "client", attributes });
  try {
    const answer = await call(step);
    step.end();
    return answer;
  } catch (error) {
    step.end(error);
    throw error;
  }
}

/** Options of the forwarded call. Throws DEADLINE_EXCEEDED when no time is left. */
function optionsOf(context: HandlerContext, span = context.values.get(spanKey)): CallOptions {
  const timeoutMs = context.timeoutMs();
  if (timeoutMs !== undefined && timeoutMs <= 0) {
    throw new ConnectError("the operation timed out", Code.DeadlineExceeded);
  }
  const headers = new Headers(span && traceHeaders(span));
  for (const name of FORWARDED_HEADERS) {
    const value = context.requestHeader.get(name);
    if (value !== null) headers.set(name, value);
  }
  const address = context.values.get(peerAddress);
  if (address !== undefined) headers.set(PEER_HEADER, address);
  return { signal: context.signal, timeoutMs, headers };
}

/**
 * Forwards answers one at a time, as the caller reads them. When the caller stops reading, the
 * forwarded call ends.
 */
async function* forwardStream(
  call: ServerStreaming,
  request: unknown,
  context: HandlerContext,
): AsyncGenerator<unknown> {
  // Returning the iterator of a client does not end its call: only its signal does.
  const stopped = new AbortController();
  const signal = AbortSignal.any([context.signal, stopped.signal]);
  try {
    for await (const answer of call(request, { ...optionsOf(context), signal })) yield answer;
  } finally {
    stopped.abort(new ConnectError("the caller no longer waits", Code.Canceled));
  }
}
