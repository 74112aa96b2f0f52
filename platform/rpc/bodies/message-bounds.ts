import type { DescMessage } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  compressedFlag,
  encodeEnvelope,
  pipe,
  readAllBytes,
  transformSplitEnvelope,
} from "@connectrpc/connect/protocol";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import type { RequestBound } from "#platform/validation/request-bound.ts";
import { requireExactIntegers } from "./json-integers.ts";

/** How the request of a call is read. */
export interface RequestForm {
  readonly schema: DescMessage;
  readonly header: Headers;
  readonly maxBytes: number;
  readonly maxItems: number;
  readonly bound: RequestBound;
}

/** Unary calls of the Connect protocol send a bare message, all others put it into an envelope. */
const BARE = /^application\/(json|proto)\b/i;

/** Headers that name the compression of messages in envelopes. */
const ENVELOPE_ENCODINGS = ["grpc-encoding", "connect-content-encoding"];

/**
 * Refuses a compressed bare request by its headers, with METHOD_NOT_FOUND. The library would refuse
 * names of compressions in the headers of others, although their messages need not be compressed:
 * `boundedBody` refuses those that are.
 */
export function requireUncompressed(header: Headers): void {
  for (const name of ENVELOPE_ENCODINGS) header.delete(name);
  if ((header.get("content-encoding") ?? "identity") !== "identity") throw compressed();
}

/**
 * The body of a call, for the library that decodes it. Throws instead when a message in it is
 * compressed, has too many bytes or items, or integers that JSON has rounded, before the message is
 * decoded.
 */
export function boundedBody(
  body: AsyncIterable<Uint8Array>,
  form: RequestForm,
): AsyncGenerator<Uint8Array> {
  // The library would refuse a body that announces too many bytes without reading it, and its error
  // would not say why.
  const announced = form.header.get("content-length");
  form.header.delete("content-length");
  return checked(body, form, announced);
}

async function* checked(
  body: AsyncIterable<Uint8Array>,
  { schema, header, maxBytes, maxItems, bound }: RequestForm,
  announced: string | null,
): AsyncGenerator<Uint8Array> {
  const type = header.get("content-type") ?? "";
  const json = /json/i.test(type);
  const check = (bytes: Uint8Array) => {
    bound({ schema, bytes, json }, maxItems);
    if (json) requireExactIntegers(schema, bytes);
  };
  try {
    if (BARE.test(type)) {
      const bytes = await readAllBytes(body, maxBytes, announced);
      check(bytes);
      yield bytes;
      return;
    }
    for await (const { flags, data } of pipe(body, transformSplitEnvelope(maxBytes))) {
      if ((flags & compressedFlag) !== 0) throw compressed();
      check(data);
      yield encodeEnvelope(flags, data);
    }
  } catch (error) {
    throw isTooLarge(error) ? tooLarge(maxBytes) : error;
  }
}

/** The library's own error has a code that invites a retry. */
function isTooLarge(error: unknown): boolean {
  if (!(error instanceof ConnectError) || error.code !== Code.ResourceExhausted) return false;
  return reasonOf(error) === ErrorReason.UNSPECIFIED;
}

function tooLarge(maxBytes: number): ConnectError {
  return fail(ErrorReason.INVALID_ARGUMENT, `the request has more than ${maxBytes} bytes`);
}

function compressed(): ConnectError {
  return fail(ErrorReason.METHOD_NOT_FOUND, "requests must not be compressed");
}
