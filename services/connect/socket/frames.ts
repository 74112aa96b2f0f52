import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ErrorDetailSchema, type ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type CloseCode,
  type KickSchema,
  type RpcError,
  type ServerFrame,
  ServerFrameSchema,
  type WelcomeSchema,
} from "#gen/lucky/frame/v1/frame_pb.js";
import { SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import {
  CLIENT_MESSAGE_ID_BYTES,
  MAX_CLIENT_MESSAGE_ID_BYTES,
} from "#platform/validation/client-message-id.ts";
import { MAX_FIELDS } from "#platform/validation/field-count.ts";
import {
  BYTES,
  FieldReader,
  readVarint,
  readVarint64,
  VARINT,
  varintLength,
  varintSize,
  WireError,
  WireWriter,
} from "#platform/wire.ts";
import { actionOf, retryAfterMsOf } from "./close-codes.ts";

/** Field numbers of lucky.frame.v1.ServerFrame and of the lists in it. */
const SEND_RESULTS_FIELD = 2;
const DELIVER_FIELD = 3;
const RPC_RESULT_FIELD = 7;
const ITEM_FIELD = 1;
/** Tag of client_message_id, field 1 of lucky.message.v1.SendResult. */
const RESULT_CLIENT_MESSAGE_ID_TAG = (1 << 3) | BYTES;

/**
 * Largest frame that connect sends, bytes. Lists are split below it. The largest frames are the answers
 * of calls: a page has up to 1 MiB of entries, and Sync adds up to 200 conversations.
 */
export const MAX_SERVER_FRAME_BYTES = 1_310_720;
/** Largest response of a call over the socket: a frame with less the ids and lengths around it. */
export const MAX_RESPONSE_BYTES = MAX_SERVER_FRAME_BYTES - 64;

/** Deliver frames are split at this size, so that a slow reader is noticed between two of them. */
const DELIVER_FRAME_BYTES = 262_144;
/** Maximum results in a frame. A result has less than 1 KiB, most of it the text of a refusal. */
export const RESULTS_PER_FRAME = 1_024;

/** Size of an item in a list, with its tag and its length. */
function sizeInList(item: Uint8Array): number {
  return 1 + varintSize(item.length) + item.length;
}

/** A ServerFrame with one message field, whose field 1 repeats the encoded `items`. */
function listFrame(field: number, items: readonly Uint8Array[]): Uint8Array {
  let bytes = 0;
  for (const item of items) bytes += sizeInList(item);
  const writer = new WireWriter(bytes + 16).header(field, bytes);
  for (const item of items) writer.bytes(ITEM_FIELD, item);
  return writer.finish();
}

/** Frames that deliver encoded entries: one, or several when the entries are large. */
export function deliverFrames(entries: readonly Uint8Array[]): Uint8Array[] {
  const frames: Uint8Array[] = [];
  let from = 0;
  let bytes = 0;
  for (let index = 0; index < entries.length; index++) {
    const size = sizeInList(entries[index]!);
    if (index > from && bytes + size > DELIVER_FRAME_BYTES) {
      frames.push(listFrame(DELIVER_FIELD, entries.slice(from, index)));
      from = index;
      bytes = 0;
    }
    bytes += size;
  }
  if (from < entries.length) {
    frames.push(listFrame(DELIVER_FIELD, from === 0 ? entries : entries.slice(from)));
  }
  return frames;
}

/** A frame of encoded SendResults, at most RESULTS_PER_FRAME. */
export function sendResultsFrame(results: readonly Uint8Array[]): Uint8Array {
  return listFrame(SEND_RESULTS_FIELD, results);
}

/** The encoded outcome of a SendResult, shared by all sends that are refused for the same cause. */
export function refusedOutcome(options: {
  reason: ErrorReason;
  text: string;
  retryAfterMs: number;
  field?: string;
}): Uint8Array {
  const { reason, text, field = "" } = options;
  const retryAfterMs = BigInt(options.retryAfterMs);
  const error = create(ErrorDetailSchema, { reason, retryAfterMs, field });
  const outcome = { case: "refused" as const, value: { error, text } };
  return toBinary(SendResultSchema, create(SendResultSchema, { outcome }));
}

/** An encoded SendResult for a send that was not stored; `id` comes from `readClientMessageId`. */
export function refusedResult(id: Uint8Array, outcome: Uint8Array): Uint8Array {
  const result = Buffer.allocUnsafe(2 + id.length + outcome.length);
  result[0] = RESULT_CLIENT_MESSAGE_ID_TAG;
  result[1] = id.length;
  result.set(id, 2);
  result.set(outcome, 2 + id.length);
  return result;
}

function frame(kind: MessageInitShape<typeof ServerFrameSchema>["kind"]): Uint8Array {
  return toBinary(ServerFrameSchema, create(ServerFrameSchema, { kind }) as ServerFrame);
}

export function welcomeFrame(welcome: MessageInitShape<typeof WelcomeSchema>): Uint8Array {
  return frame({ case: "welcome", value: welcome });
}

export function heartbeatFrame(): Uint8Array {
  return frame({ case: "heartbeat", value: {} });
}

/** A Kick, with the action and the delay that follow from its code. */
export function kickFrame(
  kick: MessageInitShape<typeof KickSchema> & { code: CloseCode },
): Uint8Array {
  const { code } = kick;
  const retryAfterMs = BigInt(retryAfterMsOf(code));
  return frame({ case: "kick", value: { ...kick, action: actionOf(code), retryAfterMs } });
}

export function moveFrame(afterMs: number): Uint8Array {
  return frame({ case: "move", value: { afterMs: BigInt(afterMs) } });
}

export function syncRequiredFrame(conversationId: string, lastSequence: number): Uint8Array {
  const value = { conversationId, lastSequence: BigInt(lastSequence) };
  return frame({ case: "syncRequired", value });
}

/** The answer to a call: the response as encoded bytes, or an error. */
export function rpcResultFrame(callId: string, outcome: Uint8Array | RpcError): Uint8Array {
  if (!(outcome instanceof Uint8Array)) {
    const error = { case: "error" as const, value: outcome };
    return frame({ case: "rpcResult", value: { callId, outcome: error } });
  }
  const result = new WireWriter(outcome.length + 32)
    .varint(1, BigInt(callId))
    .bytes(2, outcome)
    .finish();
  return new WireWriter(result.length + 16).bytes(RPC_RESULT_FIELD, result).finish();
}

/** The target of a send, read without decoding other fields. */
export interface SendTarget {
  readonly kind: "user" | "conversation";
  readonly id: bigint;
}

/** Field numbers of lucky.message.v1.SendRequest. */
const SEND_USER_FIELD = 1;
const SEND_CONVERSATION_FIELD = 2;
const SEND_CLIENT_MESSAGE_ID_FIELD = 6;

/** Their tags, one byte each. */
const USER_TAG = (SEND_USER_FIELD << 3) | VARINT;
const CONVERSATION_TAG = (SEND_CONVERSATION_FIELD << 3) | VARINT;
const CLIENT_MESSAGE_ID_TAG = (SEND_CLIENT_MESSAGE_ID_FIELD << 3) | BYTES;

/**
 * Reads the target of an encoded SendRequest. Every known encoder writes it as the first field; for
 * other encoders all fields are scanned. The server validates the other fields. It refuses a send
 * with two targets, so it never appends to another target than the one read here. Throws WireError.
 */
export function readTarget(send: Uint8Array): SendTarget | undefined {
  if (send[0] === USER_TAG) return { kind: "user", id: readVarint64(send, 1) };
  if (send[0] === CONVERSATION_TAG) return { kind: "conversation", id: readVarint64(send, 1) };
  return scanTarget(send);
}

/** Reads the target of an encoded SendRequest by scanning all fields. Throws WireError. */
function scanTarget(send: Uint8Array): SendTarget | undefined {
  let target: SendTarget | undefined;
  for (const { fieldNumber, wireType, start } of fieldsOf(send)) {
    if (wireType !== VARINT) continue;
    if (fieldNumber === SEND_USER_FIELD) target = { kind: "user", id: readVarint64(send, start) };
    else if (fieldNumber === SEND_CONVERSATION_FIELD) {
      target = { kind: "conversation", id: readVarint64(send, start) };
    }
  }
  return target;
}

const NO_ID: Uint8Array = new Uint8Array(0);

/**
 * The client_message_id of an encoded SendRequest. Empty when it cannot be read or violates the
 * contract, because refusals repeat it to the device. Never throws.
 */
export function readClientMessageId(send: Uint8Array): Uint8Array {
  try {
    // Fast path: the id nearly always follows the target. It matters because an instance at its
    // bound refuses tens of thousands of sends a second.
    if (send[0] === USER_TAG || send[0] === CONVERSATION_TAG) {
      const at = 1 + varintLength(send, 1);
      const length = send[at + 1] ?? 0;
      if (send[at] === CLIENT_MESSAGE_ID_TAG && length <= MAX_CLIENT_MESSAGE_ID_BYTES) {
        return validId(send.subarray(at + 2, at + 2 + length));
      }
    }
    let id: Uint8Array = NO_ID;
    for (const { fieldNumber, wireType, start, end } of fieldsOf(send)) {
      if (fieldNumber === SEND_CLIENT_MESSAGE_ID_FIELD && wireType === BYTES)
        id = send.subarray(start, end);
    }
    return id.length <= MAX_CLIENT_MESSAGE_ID_BYTES ? validId(id) : NO_ID;
  } catch {
    return NO_ID;
  }
}

function validId(id: Uint8Array): Uint8Array {
  for (let at = 0; at < id.length; at += 1)
    if (CLIENT_MESSAGE_ID_BYTES[id[at]!] === 0) return NO_ID;
  return id;
}

/** Kinds of lucky.frame.v1.ClientFrame, in the order of their field numbers from 1. */
const CLIENT_KINDS = [
  "hello",
  "send",
  "acknowledge",
  "typing",
  "rpc",
  "heartbeat",
  "renew",
] as const;

/** The kind of a ClientFrame; "unknown" for an empty frame and for kinds of a later version. */
export type ClientKind = (typeof CLIENT_KINDS)[number] | "unknown";

/**
 * Reads the kind of a ClientFrame and returns its body undecoded, as a view of `bytes`. Throws
 * WireError or WrongWireType.
 */
export function unwrapClientFrame(bytes: Uint8Array): { kind: ClientKind; body: Uint8Array } {
  // Fast path: nearly always the frame is exactly one known field.
  const first = bytes[0] ?? 0;
  const only = first < 0x80 && first % 8 === BYTES ? CLIENT_KINDS[(first >> 3) - 1] : undefined;
  if (only !== undefined && bytes.length >= 2) {
    const start = 1 + varintLength(bytes, 1);
    if (start + readVarint(bytes, 1) === bytes.length) {
      return { kind: only, body: bytes.subarray(start) };
    }
  }
  let kind: ClientKind = "unknown";
  let body = bytes.subarray(0, 0);
  for (const { fieldNumber, wireType, start, end } of fieldsOf(bytes)) {
    const known = CLIENT_KINDS[fieldNumber - 1];
    if (!known) continue;
    if (wireType !== BYTES) throw new WrongWireType(fieldNumber);
    kind = known;
    body = bytes.subarray(start, end);
  }
  return { kind, body };
}

/** Field number of traceparent in lucky.frame.v1.ClientFrame, and the bytes of its tag and length. */
const TRACEPARENT_FIELD = 15;
const TRACEPARENT_HEAD = 2;
/** Bytes of a traceparent. */
const TRACEPARENT_BYTES = 55;

/**
 * The context of the device's trace in a ClientFrame with this body; empty for none. The fields of
 * a frame are not searched when it is too short for a body and a context.
 */
export function readTraceparent(frame: Uint8Array, body: Uint8Array): string {
  if (frame.length - body.length < TRACEPARENT_HEAD + TRACEPARENT_BYTES) return "";
  for (const { fieldNumber, wireType, start, end } of fieldsOf(frame)) {
    if (fieldNumber !== TRACEPARENT_FIELD || wireType !== BYTES) continue;
    if (end - start === TRACEPARENT_BYTES)
      return Buffer.from(frame.subarray(start, end)).toString("latin1");
  }
  return "";
}

/** The fields of a message, one at a time. Throws WireError, also after MAX_FIELDS fields. */
function* fieldsOf(bytes: Uint8Array): Generator<FieldReader> {
  const reader = new FieldReader(bytes);
  for (let count = 1; reader.next(); count += 1) {
    if (count > MAX_FIELDS) throw new WireError("too many fields");
    yield reader;
  }
}

/** A known field does not have the wire type that the contract defines. */
export class WrongWireType extends Error {
  override readonly name = "WrongType";
  constructor(number: number) {
    super(`field ${number} has the wrong wire type`);
  }
}
