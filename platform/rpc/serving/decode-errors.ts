import type { DescMessage, DescMethod } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextKey,
  type Interceptor,
} from "@connectrpc/connect";
import type {
  UniversalHandler,
  UniversalServerRequest,
  UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import { requireUncompressed } from "#platform/rpc/bodies/message-bounds.ts";
import { boundDeadline } from "#platform/rpc/deadline.ts";
import { toPublicError } from "#platform/rpc/interceptors/public-error.ts";
import { errorResponse } from "./error-answer.ts";

/** Whether the request of a call was decoded. */
const decoded = createContextKey(false, { description: "request decoded" });

/**
 * The first interceptor: a call that reaches it was decoded. Messages of a stream are decoded as
 * they are read; this interceptor turns undecodable bytes into INVALID_ARGUMENT. A call whose caller
 * disconnected, or whose deadline passed, before its request was read goes no further.
 */
export const markDecoded: Interceptor = (next) => (request) => {
  const { signal } = request;
  request.contextValues.set(decoded, true);
  if (signal.aborted) throw toPublicError(signal.reason, signal);
  if (!request.stream) return next(request);
  return next({ ...request, message: decodable(request.method, request.message) });
};

async function* decodable<T>(
  { input, methodKind }: DescMethod,
  messages: AsyncIterable<T>,
): AsyncGenerator<T> {
  // The library would call a request of no message, or of several, unimplemented.
  const single = methodKind === "server_streaming";
  let count = 0;
  try {
    for await (const message of messages) {
      if (++count > 1 && single) throw undecodable(input);
      yield message;
    }
  } catch (cause) {
    const { code } = ConnectError.from(cause);
    const isClear = reasonOf(cause) !== ErrorReason.UNSPECIFIED;
    if (isClear || (code !== Code.Internal && code !== Code.InvalidArgument)) throw cause;
    throw undecodable(input, cause);
  }
  if (count === 0 && single) throw undecodable(input);
}

function undecodable({ typeName }: DescMessage, cause?: unknown): ConnectError {
  return fail(ErrorReason.INVALID_ARGUMENT, `the request is not a ${typeName}`, { cause });
}

/** Whether the request of a call was decoded: then its interceptors decided about it. */
export function wasDecoded(values: ContextValues): boolean {
  return values.get(decoded);
}

/**
 * Calls the handler of the library. A request that is not decoded calls no interceptor, and the library
 * answers with an error of its own: without a detail, INTERNAL for undecodable bytes, repeating a
 * duplicate key of JSON however long, or a bare HTTP status. This function answers instead of it.
 */
export async function callHandler(
  handler: UniversalHandler,
  request: UniversalServerRequest & {
    body: AsyncIterable<Uint8Array>;
    contextValues: ContextValues;
  },
): Promise<UniversalServerResponse> {
  const { header, contextValues, signal } = request;
  const type = header.get("content-type");
  try {
    requireUncompressed(header);
    boundDeadline(header);
  } catch (error) {
    return errorResponse(type, toPublicError(error, signal));
  }
  let failure: unknown;
  const body = noting(request.body, (error) => {
    failure = error;
  });
  const response = await handler({ ...request, body });
  if (contextValues.get(decoded)) return response;
  const refusal = BARE_REFUSALS[response.status];
  if (refusal !== undefined) {
    const notServed = fail(ErrorReason.METHOD_NOT_FOUND, refusal.text);
    const answer = errorResponse(type, notServed, response.status);
    for (const [name, value] of Object.entries(refusal.headers ?? {})) {
      answer.header?.set(name, value);
    }
    return answer;
  }
  const error =
    failure === undefined ? undecodable(handler.method.input) : toPublicError(failure, signal);
  return errorResponse(type, error);
}

/** The library's answers that have only an HTTP status. */
const BARE_REFUSALS: Readonly<Record<number, { text: string; headers?: Record<string, string> }>> =
  {
    405: { text: "call methods with POST", headers: { allow: "POST" } },
    415: { text: "the method does not take this content type" },
    505: { text: "a stream of requests needs HTTP/2", headers: { connection: "close" } },
  };

/** Passes chunks on. Calls `failed` with the error that ends them. */
async function* noting(
  chunks: AsyncIterable<Uint8Array>,
  failed: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (error) {
    failed(error);
    throw error;
  }
}
