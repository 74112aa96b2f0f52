import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type Message,
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
  type StreamRequest,
  type StreamResponse,
  type Transport,
  type UnaryRequest,
  type UnaryResponse,
} from "@connectrpc/connect";
import { createMethodUrl } from "@connectrpc/connect/protocol";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { callingService } from "#platform/identity/mesh-callers.ts";
import { DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS } from "#platform/rpc/deadline.ts";
import type { Served } from "#platform/rpc/served.ts";
import type { ServiceName } from "#platform/service-name.ts";

export interface LocalOptions {
  /** The service that calls; it needs no secret. Internal methods are refused without it. */
  readonly caller?: ServiceName;
}

type Next = ReturnType<Interceptor>;
type Handler = (request: unknown, context: HandlerContext) => unknown;

const contextKey = createContextKey<HandlerContext | undefined>(undefined);

/**
 * Calls services in the same process, through the same interceptors as over the network. Messages
 * are passed without encoding: neither side may modify a message that it passed or received. Errors
 * lose their cause, as over the network. A unary call without a deadline gets 10 s. The answers of a
 * stream are produced as the caller reads them. Methods that take a stream are refused with
 * METHOD_NOT_FOUND.
 */
export function localTransport(
  served: readonly Served[],
  interceptors: readonly Interceptor[],
  { caller }: LocalOptions = {},
): Transport {
  const handlers = new Map<DescMethod, Handler>();
  for (const { service, implementation } of served) {
    const methods = implementation as Record<string, Handler>;
    for (const method of service.methods) {
      const handler = methods[method.localName];
      if (callable(method) && handler !== undefined) {
        handlers.set(method, handler.bind(implementation));
      }
    }
  }

  const invoke: Next = async (request) => {
    const { method, header, contextValues, signal } = request;
    const context = contextValues.get(contextKey);
    const handler = handlers.get(method);
    if (!callable(method) || !context || !handler) {
      throw fail(
        ErrorReason.METHOD_NOT_FOUND,
        `${method.parent.typeName}/${method.name} is not served here`,
      );
    }
    const seen = { ...context, requestHeader: header, values: contextValues, signal };
    const common = {
      service: method.parent,
      header: context.responseHeader,
      trailer: context.responseTrailer,
    };
    if (request.stream) {
      const answers = handler(await only(request.message), seen) as AsyncIterable<Message>;
      const message = each(method.output, answers);
      return { ...common, method: method as DescMethodServerStreaming, stream: true, message };
    }
    const answer = (await handler(request.message, seen)) as Message;
    const message = create(method.output, answer);
    return { ...common, method: method as DescMethodUnary, stream: false, message };
  };
  const chain = interceptors.reduceRight<Next>((next, wrap) => wrap(next), invoke);

  /** Makes the context of a call, and the request that the interceptors see. */
  function begin(
    method: DescMethod,
    signal: AbortSignal | undefined,
    timeoutMs: number,
    header: HeadersInit | undefined,
  ) {
    const context = createHandlerContext({
      service: method.parent,
      method,
      protocolName: "local",
      requestMethod: "POST",
      url: createMethodUrl("http://local", method),
      timeoutMs: timeoutMs > 0 ? Math.min(timeoutMs, MAX_DEADLINE_MS) : undefined,
      requestSignal: signal,
      requestHeader: header,
      // New values: the context values of the caller's own call, such as its caller, do not apply
      // here.
      contextValues: createContextValues(),
    });
    context.values.set(contextKey, context);
    context.values.set(callingService, caller);
    const request = {
      service: method.parent,
      requestMethod: context.requestMethod,
      url: context.url,
      signal: context.signal,
      header: context.requestHeader,
      contextValues: context.values,
    };
    return { context, request };
  }

  return {
    async unary(method, signal, timeoutMs = DEFAULT_DEADLINE_MS, header, input) {
      const { context, request } = begin(method, signal, timeoutMs, header);
      const whole: UnaryRequest = {
        ...request,
        stream: false,
        method: method as DescMethodUnary,
        message: create(method.input, input),
      };
      try {
        const answer = await within(context.signal, () => chain(whole));
        return answer as UnaryResponse<typeof method.input, typeof method.output>;
      } catch (thrown) {
        throw withoutCause(thrown);
      } finally {
        context.abort(ended);
      }
    },
    async stream(method, signal, timeoutMs = 0, header, input) {
      const { context, request } = begin(method, signal, timeoutMs, header);
      const whole: StreamRequest = {
        ...request,
        stream: true,
        method: method as DescMethodServerStreaming,
        message: each(method.input, input as AsyncIterable<Message>),
      };
      try {
        const answer = (await within(context.signal, () => chain(whole))) as StreamResponse<
          typeof method.input,
          typeof method.output
        >;
        return { ...answer, message: withEnd(answer.message, context) };
      } catch (thrown) {
        context.abort(ended);
        throw withoutCause(thrown);
      }
    },
  };
}

/** Methods that answer with a stream are called like unary ones, with one request. */
function callable({ methodKind }: DescMethod): boolean {
  return methodKind === "unary" || methodKind === "server_streaming";
}

async function* each<T extends DescMessage>(
  schema: T,
  messages: AsyncIterable<Message>,
): AsyncGenerator<MessageShape<T>> {
  for await (const message of messages) yield create(schema, message as MessageShape<T>);
}

/** The first message of a stream: the only one, in the methods called here. */
async function only<T>(messages: AsyncIterable<T>): Promise<T> {
  for await (const message of messages) return message;
  throw fail(ErrorReason.INVALID_ARGUMENT, "a request is needed");
}

/** Passes answers on as the caller reads them. The handler ends when the call ends on either side. */
async function* withEnd<T>(
  answers: AsyncIterable<T>,
  context: Pick<HandlerContext, "signal"> & { abort(reason: unknown): void },
): AsyncGenerator<T> {
  const { signal } = context;
  const work = answers[Symbol.asyncIterator]();
  // A caller that stopped reading takes no further answer: the handler must not wait for it.
  const stop = () => void Promise.resolve(work.return?.()).catch(() => {});
  signal.addEventListener("abort", stop, { once: true });
  try {
    for (;;) {
      const next = await within(signal, () => work.next());
      if (next.done) return;
      yield next.value;
    }
  } catch (thrown) {
    throw withoutCause(thrown);
  } finally {
    context.abort(ended);
  }
}

/** The error as it would arrive over the network: without its cause. */
function withoutCause(thrown: unknown): ConnectError {
  const { rawMessage, code, metadata, details } = ConnectError.from(thrown);
  const error = new ConnectError(rawMessage, code, metadata);
  error.details = details;
  return error;
}

const ended = new ConnectError("the call has ended", Code.Canceled);

/** Waits for the work, but only until the signal aborts, even if the work ignores the signal. */
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
