import type { DescFile, DescService } from "@bufbuild/protobuf";
import { Code, type HandlerContext } from "@connectrpc/connect";
import { Health } from "#gen/grpc/health/v1/health_pb.js";
import {
  ServerReflection,
  type ServerReflectionRequest,
} from "#gen/grpc/reflection/v1/reflection_pb.js";
import {
  ServerReflection as ServerReflectionAlpha,
  type ServerReflectionRequest as ServerReflectionRequestAlpha,
} from "#gen/grpc/reflection/v1alpha/reflection_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { networkOf } from "#platform/network.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { type Served, serve } from "#platform/rpc/served.ts";
import { noSuchMethod } from "#platform/rpc/serving/error-answer.ts";
import { type Schema, schemaOf } from "./schema.ts";

/** Maximum open streams, which need no token, of all and of one network. More are refused with OVERLOADED. */
const MAX_STREAMS = 100;
const MAX_STREAMS_OF_NETWORK = 10;

/**
 * Maximum requests of one stream, and bytes of files in its answers, far above those of any tool: the
 * whole contract has about 100 KB. The port bounds the time of a stream.
 */
const MAX_REQUESTS = 200;
const MAX_FILE_BYTES = 1024 * 1024;

/** The oneof of a request, of either version. */
type Question = (ServerReflectionRequest | ServerReflectionRequestAlpha)["messageRequest"];

/**
 * The standard reflection services of gRPC, for tools that call without a schema. They show these
 * services, the health service and themselves, with all imports; internal services stay unknown.
 */
export function reflectionServices({
  shown,
  enabled,
}: {
  readonly shown: readonly DescService[];
  /** While it returns false, the methods answer as if they were not served. */
  readonly enabled: () => boolean;
}): Served[] {
  const schema = schemaOf([...shown, Health, ServerReflection, ServerReflectionAlpha]);
  let streams = 0;
  const byNetwork = new Map<string, number>();

  async function* answers<R extends { host: string; messageRequest: Question }>(
    requests: AsyncIterable<R>,
    { values }: Pick<HandlerContext, "values">,
  ) {
    if (!enabled()) throw noSuchMethod();
    const network = networkOf(values.get(peerAddress) ?? "local");
    const ofNetwork = byNetwork.get(network) ?? 0;
    if (streams >= MAX_STREAMS || ofNetwork >= MAX_STREAMS_OF_NETWORK) {
      throw fail(ErrorReason.OVERLOADED, "too many reflection streams", { retryAfterMs: 1_000 });
    }
    streams++;
    byNetwork.set(network, ofNetwork + 1);
    try {
      const sent = new Set<DescFile>();
      let count = 0;
      let fileBytes = 0;
      for await (const request of requests) {
        const messageResponse = answer(schema, request.messageRequest, sent);
        fileBytes += fileBytesOf(messageResponse);
        if (++count > MAX_REQUESTS || fileBytes > MAX_FILE_BYTES) {
          throw fail(ErrorReason.OVERLOADED, "too many requests on a reflection stream");
        }
        yield { validHost: request.host, originalRequest: request, messageResponse };
      }
    } finally {
      streams--;
      const left = byNetwork.get(network)! - 1;
      if (left > 0) byNetwork.set(network, left);
      else byNetwork.delete(network);
    }
  }

  // Both versions have the same messages under other names: an answer fits either.
  return [
    serve(ServerReflection, { serverReflectionInfo: answers }),
    serve(ServerReflectionAlpha, { serverReflectionInfo: answers }),
  ];
}

/** Answers one request. Files in `sent` are known to the stream; files of the answer join them. */
function answer(schema: Schema, question: Question, sent: Set<DescFile>) {
  switch (question.case) {
    case "fileByFilename":
      return files(schema, schema.file(question.value), sent);
    case "fileContainingSymbol":
      return files(schema, schema.fileOf(question.value), sent);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      const file = schema.extensionsOf(containingType).get(extensionNumber);
      return files(schema, file, sent);
    }
    case "allExtensionNumbersOfType": {
      const baseTypeName = question.value;
      if (schema.fileOf(baseTypeName) === undefined) return notFound();
      const extensionNumber = [...schema.extensionsOf(baseTypeName).keys()];
      const value = { baseTypeName, extensionNumber };
      return { case: "allExtensionNumbersResponse", value } as const;
    }
    case "listServices": {
      const service = schema.services.map((name) => ({ name }));
      return { case: "listServicesResponse", value: { service } } as const;
    }
    default:
      return failure(Code.InvalidArgument, "message_request is not set");
  }
}

function fileBytesOf(response: ReturnType<typeof answer>): number {
  if (response.case !== "fileDescriptorResponse") return 0;
  return response.value.fileDescriptorProto.reduce((sum, { length }) => sum + length, 0);
}

function files(schema: Schema, requested: DescFile | undefined, sent: Set<DescFile>) {
  if (requested === undefined) return notFound();
  const found: DescFile[] = [requested];
  sent.add(requested);
  // The loop appends to the list it iterates, so it also visits the imports of imports.
  for (const file of found) {
    for (const dependency of file.dependencies) {
      if (sent.has(dependency)) continue;
      sent.add(dependency);
      found.push(dependency);
    }
  }
  const fileDescriptorProto = found.map(schema.encoded);
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } } as const;
}

function notFound() {
  return failure(Code.NotFound, "nothing of this name is served here");
}

function failure(errorCode: Code, errorMessage: string) {
  return { case: "errorResponse", value: { errorCode, errorMessage } } as const;
}
