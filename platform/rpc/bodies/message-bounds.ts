import type { DescMessage } from "@bufbuild/protobuf";
import {
  compressedFlag,
  encodeEnvelope,
  pipe,
  readAllBytes,
  transformSplitEnvelope,
} from "@connectrpc/connect/protocol";
import type { RequestBound } from "#platform/validation/request-bound.ts";

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

/**
 * The body of a call, for the library that decodes it. Throws instead when a message in it has too
 * many bytes or items, before the message is decoded. Compressed messages are passed on: the library
 * refuses them.
 */
export async function* boundedBody(
  body: AsyncIterable<Uint8Array>,
  { schema, header, maxBytes, maxItems, bound }: RequestForm,
): AsyncGenerator<Uint8Array> {
  const type = header.get("content-type") ?? "";
  const json = /json/i.test(type);
  if (BARE.test(type)) {
    const bytes = await readAllBytes(body, maxBytes, header.get("content-length"));
    const encoding = header.get("content-encoding") ?? "identity";
    if (encoding === "identity") bound({ schema, bytes, json }, maxItems);
    yield bytes;
    return;
  }
  for await (const { flags, data } of pipe(body, transformSplitEnvelope(maxBytes))) {
    const compressed = (flags & compressedFlag) !== 0;
    if (!compressed) bound({ schema, bytes: data, json }, maxItems);
    yield encodeEnvelope(flags, data);
  }
}
