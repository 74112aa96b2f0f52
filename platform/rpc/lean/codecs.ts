import { type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import {
  type AppendBatchRequest,
  AppendBatchRequestSchema,
  type AppendBatchResponse,
  AppendBatchResponseSchema,
  type Uplink,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import {
  BYTES,
  FieldReader,
  readVarint64,
  VARINT,
  varintSize,
  WireWriter,
} from "#platform/wire.ts";

/** The bytes of a message, and back: as the generated code does it. */
interface Codec {
  encode(message: Message): Uint8Array;
  decode(bytes: Uint8Array): Message;
}

/**
 * By hand what carries every message between connect and server. The generated code walks over
 * descriptors: 1.0 µs a send on both sides together, where this takes 0.5 (measured). A test holds both
 * to the same bytes.
 */
const byHand = new Map<DescMessage, Codec>([
  [AppendBatchRequestSchema, { encode: encodeRequest as Codec["encode"], decode: decodeRequest }],
  [
    AppendBatchResponseSchema,
    { encode: encodeResponse as Codec["encode"], decode: decodeResponse },
  ],
]);

/** A message as bytes. */
export function encode(schema: DescMessage, message: Message): Uint8Array {
  return byHand.get(schema)?.encode(message) ?? toBinary(schema, message);
}

/** Reads a message. Throws when the bytes are none. */
export function decode(schema: DescMessage, bytes: Uint8Array): Message {
  return byHand.get(schema)?.decode(bytes) ?? fromBinary(schema, bytes);
}

/** Tags, lengths and the sender of an uplink, at most. */
const UPLINK_BYTES = 32;

function encodeRequest({ uplinks }: AppendBatchRequest): Uint8Array {
  let room = 0;
  for (const { sessionId, send } of uplinks) room += UPLINK_BYTES + sessionId.length + send.length;
  const writer = new WireWriter(room);
  for (const { senderId, sessionId, send } of uplinks) {
    const sender = BigInt(senderId);
    const session = Buffer.byteLength(sessionId);
    const fields = 3 + varintSize(sender) + varintSize(session) + varintSize(send.length);
    writer
      .header(1, fields + session + send.length)
      .varint(1, sender)
      .string(2, sessionId)
      .bytes(3, send);
  }
  return writer.finish();
}

function decodeRequest(bytes: Uint8Array): AppendBatchRequest {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const uplinks: Uplink[] = [];
  const field = new FieldReader(buffer);
  while (field.next()) {
    if (field.fieldNumber === 1 && field.wireType === BYTES) {
      uplinks.push(decodeUplink(buffer, field.start, field.end));
    }
  }
  return { $typeName: AppendBatchRequestSchema.typeName, uplinks };
}

function decodeUplink(buffer: Buffer, from: number, to: number): Uplink {
  let senderId = "0";
  let sessionId = "";
  let send = buffer.subarray(0, 0);
  const field = new FieldReader(buffer, from, to);
  while (field.next()) {
    const { fieldNumber, wireType, start, end } = field;
    if (fieldNumber === 1 && wireType === VARINT) {
      senderId = BigInt.asIntN(64, readVarint64(buffer, start)).toString();
    } else if (fieldNumber === 2 && wireType === BYTES) {
      sessionId = buffer.toString("utf8", start, end);
    } else if (fieldNumber === 3 && wireType === BYTES) {
      send = buffer.subarray(start, end);
    }
  }
  return { $typeName: "lucky.internal.ingress.v1.Uplink", senderId, sessionId, send };
}

function encodeResponse({ results }: AppendBatchResponse): Uint8Array {
  let room = 0;
  for (const { length } of results) room += 1 + varintSize(length) + length;
  const writer = new WireWriter(room + 15);
  for (const result of results) writer.bytes(1, result);
  return writer.finish();
}

function decodeResponse(bytes: Uint8Array): AppendBatchResponse {
  const results: Uint8Array[] = [];
  const field = new FieldReader(bytes);
  while (field.next()) {
    if (field.fieldNumber === 1 && field.wireType === BYTES) {
      results.push(bytes.subarray(field.start, field.end));
    }
  }
  return { $typeName: AppendBatchResponseSchema.typeName, results };
}
