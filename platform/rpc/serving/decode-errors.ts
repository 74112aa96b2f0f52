import type { DescMessage } from "@bufbuild/protobuf";
import { Code, ConnectError, createContextKey, type Interceptor } from "@connectrpc/connect";
import type {
  UniversalHandler,
  UniversalServerRequest,
  UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

const internal = String(Code.Internal);

/** Whether the request of a call could be decoded. */
const decoded = createContextKey(false, { description: "request decoded" });

/**
 * The first of the interceptors: whatever comes this far was decoded. Messages of a stream are
 * decoded as they are read: bytes that are none become INVALID_ARGUMENT here.
 */
export const markDecoded: Interceptor = (next) => (request) => {
  request.contextValues.set(decoded, true);
  if (!request.stream) return next(request);
  return next({ ...request, message: readable(request.method.input, request.message) });
};

async function* readable<T>({ typeName }: DescMessage, messages: AsyncIterable<T>) {
  try {
    for await (const message of messages) yield message;
  } catch (cause) {
    const { code } = ConnectError.from(cause);
    if (code !== Code.Internal && code !== Code.InvalidArgument) throw cause;
    throw fail(ErrorReason.INVALID_ARGUMENT, `the request is no ${typeName}`, { cause });
  }
}

/**
 * Answers a request. The library takes bytes that it cannot decode for a fault of the server, and
 * answers INTERNAL before any interceptor is asked: here that becomes INVALID_ARGUMENT.
 */
export async function callHandler(
  handler: UniversalHandler,
  request: UniversalServerRequest,
): Promise<UniversalServerResponse> {
  const response = await handler(request);
  if (request.contextValues?.get(decoded)) return response;
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body ?? []) chunks.push(chunk);
  if (!isInternal(response, chunks)) return { ...response, body: each(chunks) };
  const { typeName } = handler.method.input;
  const error = fail(ErrorReason.INVALID_ARGUMENT, `the request is no ${typeName}`);
  // Asked again, with a body that breaks, the library tells it in the caller's protocol.
  return handler({ ...request, body: each([], error) });
}

/** Each protocol has a place of its own for the code: Connect the status, gRPC the trailer. */
function isInternal({ status, trailer }: UniversalServerResponse, chunks: Uint8Array[]): boolean {
  if (status === 500 || trailer?.get("grpc-status") === internal) return true;
  // gRPC-Web sends the trailer as the last part of the body.
  return Buffer.concat(chunks).includes(`grpc-status: ${internal}\r\n`);
}

async function* each(chunks: readonly Uint8Array[], error?: Error): AsyncGenerator<Uint8Array> {
  yield* chunks;
  if (error !== undefined) throw error;
}
