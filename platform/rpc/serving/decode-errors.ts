import type { DescMessage } from "@bufbuild/protobuf";
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

/** Maximum bytes of an answer to a request that was not decoded. A longer one repeats the request. */
const MAX_ERROR_BYTES = 1_024;

const INTERNAL_STATUS = String(Code.Internal);

/** Whether the request of a call was decoded. */
const decoded = createContextKey(false, { description: "request decoded" });

/** The error that answers a refused call. */
const refusalKey = createContextKey<unknown>(undefined, { description: "refusal of the call" });

/**
 * The first interceptor: a call that reaches it was decoded. Messages of a stream are decoded as
 * they are read; this interceptor turns undecodable bytes into INVALID_ARGUMENT. A call whose caller
 * disconnected before its request was read goes no further.
 */
export const markDecoded: Interceptor = (next) => (request) => {
  const refusal = request.contextValues.get(refusalKey);
  if (refusal !== undefined) throw refusal;
  request.contextValues.set(decoded, true);
  if (request.signal.aborted) throw ConnectError.from(request.signal.reason, Code.Canceled);
  if (!request.stream) return next(request);
  return next({ ...request, message: decodable(request.method.input, request.message) });
};

async function* decodable<T>({ typeName }: DescMessage, messages: AsyncIterable<T>) {
  try {
    for await (const message of messages) yield message;
  } catch (cause) {
    const { code } = ConnectError.from(cause);
    const isClear = reasonOf(cause) !== ErrorReason.UNSPECIFIED;
    if (isClear || (code !== Code.Internal && code !== Code.InvalidArgument)) throw cause;
    throw fail(ErrorReason.INVALID_ARGUMENT, `the request is not a ${typeName}`, { cause });
  }
}

/** Whether the request of a call was decoded: then its interceptors decided about it. */
export function wasDecoded(values: ContextValues): boolean {
  return values.get(decoded);
}

/**
 * Answers a call with an error, in the protocol of its caller: the library encodes the error that
 * the body throws. A stream calls the interceptors first: the first interceptor throws it. The
 * request is not read.
 */
export function refuseCall(
  handler: UniversalHandler,
  request: UniversalServerRequest,
  error: unknown,
): Promise<UniversalServerResponse> {
  request.contextValues?.set(refusalKey, error);
  // The library compares the length with its maximum before it reads.
  const header = new Headers(request.header);
  header.delete("content-length");
  return handler({ ...request, header, body: each([], error) });
}

/**
 * Calls the handler of the library. For undecodable bytes the library answers INTERNAL, as if the
 * server were at fault, or repeats a duplicate key of JSON however long, and calls no interceptor.
 * This function turns both answers into INVALID_ARGUMENT.
 */
export async function callHandler(
  handler: UniversalHandler,
  request: UniversalServerRequest,
): Promise<UniversalServerResponse> {
  const response = await handler(request);
  if (request.contextValues?.get(decoded)) return response;
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body ?? []) chunks.push(chunk);
  if (!isInternal(response, chunks) && !isLong(response, chunks)) {
    return { ...response, body: each(chunks) };
  }
  const { typeName } = handler.method.input;
  const error = fail(ErrorReason.INVALID_ARGUMENT, `the request is not a ${typeName}`);
  return refuseCall(handler, request, error);
}

/** Connect puts the code into the status, gRPC into the trailer. */
function isInternal({ status, trailer }: UniversalServerResponse, chunks: Uint8Array[]): boolean {
  if (status === 500 || trailer?.get("grpc-status") === INTERNAL_STATUS) return true;
  // gRPC-Web sends the trailer as the last part of the body.
  return Buffer.concat(chunks).includes(`grpc-status: ${INTERNAL_STATUS}\r\n`);
}

function isLong({ trailer }: UniversalServerResponse, chunks: Uint8Array[]): boolean {
  let bytes = trailer?.get("grpc-message")?.length ?? 0;
  for (const chunk of chunks) bytes += chunk.length;
  return bytes > MAX_ERROR_BYTES;
}

async function* each(chunks: readonly Uint8Array[], error?: unknown): AsyncGenerator<Uint8Array> {
  yield* chunks;
  if (error !== undefined) throw error;
}
