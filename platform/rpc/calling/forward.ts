import type { DescService } from "@bufbuild/protobuf";
import type { CallOptions, Client, HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { REQUEST_ID_HEADER } from "#platform/rpc/interceptors/observe.ts";
import { PEER_HEADER, peerAddress } from "#platform/rpc/peer.ts";

/** Headers that go on with a call: who calls, and its name in the logs. Nothing else of them does. */
const passedOn = ["authorization", REQUEST_ID_HEADER];

type Unary = (request: unknown, options: CallOptions) => Promise<unknown>;
type ServerStreaming = (request: unknown, options: CallOptions) => AsyncIterable<unknown>;

/**
 * Implements a service by passing every call on to a client of the same service, with what is left
 * of the caller's deadline and the address that the call came from; when the caller goes away, the
 * call is cancelled. Errors come back as they are. Methods that take a stream are left out, that is,
 * unimplemented.
 */
export function forward<S extends DescService>(service: S, client: Client<S>): ServiceImpl<S> {
  const methods = client as unknown as Record<string, unknown>;
  const implementation: Record<string, unknown> = {};
  for (const { localName, methodKind } of service.methods) {
    if (methodKind === "unary") {
      const call = methods[localName] as Unary;
      implementation[localName] = (request: unknown, context: HandlerContext) =>
        call(request, optionsOf(context));
    } else if (methodKind === "server_streaming") {
      const call = methods[localName] as ServerStreaming;
      implementation[localName] = (request: unknown, context: HandlerContext) =>
        passStream(call, request, context);
    }
  }
  return implementation as ServiceImpl<S>;
}

/** What goes on with a call. Throws DEADLINE_EXCEEDED when no time is left. */
function optionsOf(context: HandlerContext): CallOptions {
  const timeoutMs = context.timeoutMs();
  if (timeoutMs !== undefined && timeoutMs <= 0) {
    throw new ConnectError("the operation timed out", Code.DeadlineExceeded);
  }
  const headers = new Headers();
  for (const name of passedOn) {
    const value = context.requestHeader.get(name);
    if (value !== null) headers.set(name, value);
  }
  const address = context.values.get(peerAddress);
  if (address !== undefined) headers.set(PEER_HEADER, address);
  return { signal: context.signal, timeoutMs, headers };
}

/** Answers come one at a time, as the caller takes them; when it stops, the call behind ends. */
async function* passStream(
  call: ServerStreaming,
  request: unknown,
  context: HandlerContext,
): AsyncGenerator<unknown> {
  // The iterable of a client cannot be told to stop: only its signal ends the call.
  const left = new AbortController();
  const signal = AbortSignal.any([context.signal, left.signal]);
  try {
    for await (const answer of call(request, { ...optionsOf(context), signal })) yield answer;
  } finally {
    left.abort(new ConnectError("the caller does not wait any more", Code.Canceled));
  }
}
