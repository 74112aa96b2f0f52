import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { ConnectError } from "@connectrpc/connect";
import {
  createAsyncIterable,
  encodeEnvelope,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  contentTypeStreamRegExp,
  createEndStreamSerialization,
  endStreamFlag,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import {
  contentTypeRegExp as grpcRegExp,
  setTrailerStatus,
} from "@connectrpc/connect/protocol-grpc";
import {
  parseContentType as parseGrpcWebType,
  trailerFlag,
  trailerSerialize,
} from "@connectrpc/connect/protocol-grpc-web";
import { universalResponseToNodeResponse } from "@connectrpc/connect-node";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf, fail } from "#platform/errors.ts";

export type NodeRequest = IncomingMessage | Http2ServerRequest;
export type NodeResponse = ServerResponse | Http2ServerResponse;

const endStream = createEndStreamSerialization(undefined);

/** The error of a path that is not a method served here. */
export function noSuchMethod(): ConnectError {
  return fail(ErrorReason.METHOD_NOT_FOUND, "no such method is served here");
}

/**
 * Encodes an error in the protocol of the caller, as the content type of the request names it. An unknown
 * protocol gets the JSON of a unary Connect call. `status` is the HTTP status of that JSON; by default
 * the one of the error's code.
 */
export function errorResponse(
  type: string | null | undefined,
  error: ConnectError,
  status = codeToHttpStatus(error.code),
): UniversalServerResponse {
  const sent = type ?? "";
  if (grpcRegExp.test(sent)) {
    return { ...ok(sent), trailer: setTrailerStatus(new Headers(), error) };
  }
  if (parseGrpcWebType(sent)?.text === false) {
    const trailer = trailerSerialize(setTrailerStatus(new Headers(), error));
    return { ...ok(sent), body: createAsyncIterable([encodeEnvelope(trailerFlag, trailer)]) };
  }
  if (contentTypeStreamRegExp.test(sent)) {
    const end = endStream.serialize({ metadata: error.metadata, error });
    return { ...ok(sent), body: createAsyncIterable([encodeEnvelope(endStreamFlag, end)]) };
  }
  const body = errorToJsonBytes(error, undefined);
  const header = new Headers(error.metadata);
  header.set("content-type", "application/json");
  header.set("content-length", String(body.length));
  const retryAfterMs = Number(detailOf(error)?.retryAfterMs ?? 0);
  if (retryAfterMs > 0) header.set("retry-after", String(Math.ceil(retryAfterMs / 1_000)));
  return { status, header, body: createAsyncIterable([body]) };
}

/** These protocols put the status of an error after the body. */
function ok(type: string): UniversalServerResponse {
  return { status: 200, header: new Headers({ "content-type": type }) };
}

/** Answers a request with an error, see `errorResponse`; ends an answer that has begun already. */
export function answerError(
  req: NodeRequest,
  res: NodeResponse,
  error: ConnectError,
  status?: number,
): void {
  if (!res.headersSent) {
    const response = errorResponse(req.headers["content-type"], error, status);
    // A failed write means that the caller has disconnected.
    universalResponseToNodeResponse(response, res).catch(() => {});
    return;
  }
  // The two kinds of response have no signature of `end` in common.
  if ("stream" in res) res.end();
  else res.end();
}
