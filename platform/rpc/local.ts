import {
  create,
  type DescMethod,
  type DescMethodUnary,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createContextKey,
  createContextValues,
  createHandlerContext,
  type HandlerContext,
  type Interceptor,
  type Transport,
  type UnaryRequest,
  type UnaryResponse,
} from "@connectrpc/connect";
import { createMethodUrl } from "@connectrpc/connect/protocol";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { fail } from "../errors.ts";
import { meshHeader } from "./access.ts";
import { defaultDeadlineMs } from "./deadline.ts";
import type { Served } from "./served.ts";

export interface LocalOptions {
  /** Sent along as over the network, so that internal methods can be called. */
  readonly meshSecret?: string;
}

type Next = ReturnType<Interceptor>;
type Handler = (request: unknown, context: HandlerContext) => unknown;

const contextKey = createContextKey<HandlerContext | undefined>(undefined);

/**
 * Calls services in the same process, through the same interceptors as over the network. Messages
 * are handed over as they are, not encoded: neither side may change one that it gave or got. Errors
 * come as they would over the network, without their cause. A call without a deadline gets 10 s.
 * Streaming methods are refused with METHOD_NOT_FOUND.
 */
export function localTransport(
  served: readonly Served[],
  interceptors: readonly Interceptor[],
  { meshSecret = "" }: LocalOptions = {},
): Transport {
  const handlers = new Map<DescMethod, Handler>();
  for (const { service, implementation } of served) {
    const methods = implementation as Record<string, Handler>;
    for (const method of service.methods) {
      const handler = methods[method.localName];
      if (method.methodKind === "unary" && handler !== undefined) {
        handlers.set(method, handler.bind(implementation));
      }
    }
  }

  const invoke: Next = async (request) => {
    const { method, header, contextValues, signal } = request;
    const context = contextValues.get(contextKey);
    const handler = handlers.get(method);
    if (request.stream || method.methodKind !== "unary" || !context || !handler) {
      throw fail(
        ErrorReason.METHOD_NOT_FOUND,
        `${method.parent.typeName}/${method.name} is not served here`,
      );
    }
    const seen = { ...context, requestHeader: header, values: contextValues, signal };
    const answer = await handler(request.message, seen);
    return {
      stream: false,
      service: method.parent,
      method,
      header: context.responseHeader,
      trailer: context.responseTrailer,
      message: create(method.output, answer as MessageShape<typeof method.output>),
    };
  };
  const chain = interceptors.reduceRight<Next>((next, wrap) => wrap(next), invoke);

  return {
    async unary(method, signal, timeoutMs = defaultDeadlineMs, header, input) {
      const context = createHandlerContext({
        service: method.parent,
        method,
        protocolName: "local",
        requestMethod: "POST",
        url: createMethodUrl("http://local", method),
        timeoutMs: timeoutMs > 0 ? timeoutMs : undefined,
        requestSignal: signal,
        requestHeader: header,
        // The callee starts afresh: what the caller knows of its own caller is not the callee's.
        contextValues: createContextValues(),
      });
      context.values.set(contextKey, context);
      if (meshSecret !== "") context.requestHeader.set(meshHeader, meshSecret);
      const request: UnaryRequest = {
        stream: false,
        service: method.parent,
        method: method as DescMethodUnary,
        requestMethod: context.requestMethod,
        url: context.url,
        signal: context.signal,
        header: context.requestHeader,
        contextValues: context.values,
        message: create(method.input, input),
      };
      try {
        const answer = await within(context.signal, () => chain(request));
        return answer as UnaryResponse<typeof method.input, typeof method.output>;
      } catch (thrown) {
        const { rawMessage, code, metadata, details } = ConnectError.from(thrown);
        const error = new ConnectError(rawMessage, code, metadata);
        error.details = details;
        throw error;
      } finally {
        context.abort(ended);
      }
    },
    async stream(method) {
      throw fail(
        ErrorReason.METHOD_NOT_FOUND,
        `${method.parent.typeName}/${method.name} cannot be called locally`,
      );
    },
  };
}

const ended = new ConnectError("the call has ended", Code.Canceled);

/** Waits for the work, but no longer than the signal allows, even if the work does not listen. */
function within<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(ConnectError.from(signal.reason, Code.Canceled));
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    work()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", abort));
  });
}
