import { WireError, WireWriter } from "#platform/wire.ts";
import type { Dialect, FrameHandler, Target } from "./dialect.ts";
import { KEY_BYTES, readKey } from "./key.ts";
import { BINARY, clientFrame } from "./websocket.ts";

/** Tags of lucky.frame.v1.ServerFrame, all of the length-delimited wire type. */
const WELCOME = 0x0a;
const SEND_RESULTS = 0x12;
const DELIVER = 0x1a;
const SYNC_REQUIRED = 0x32;
const RPC_RESULT = 0x3a;
/** Tags of the lists in SendResults and Deliver. */
const ITEM = 0x0a;
/** Tags of SendResult. */
const RESULT_KEY = 0x0a;
const RESULT_ACCEPTED = 0x12;
const RESULT_REFUSED = 0x1a;
/** Tags of Entry. */
const ENTRY_CONVERSATION = 0x08;
const ENTRY_SEQUENCE = 0x10;
const ENTRY_KEY = 0x32;
/** Field numbers of ClientFrame. */
const HELLO_FIELD = 1;
const SEND_FIELD = 2;
const ACKNOWLEDGE_FIELD = 3;
const RPC_FIELD = 5;
const HEARTBEAT_FIELD = 6;
/** Field numbers of SendRequest. */
const KEY_FIELD = 6;
const CONTENT_FIELD = 10;

/** Hand-written encoder and decoder of Lucky's frames: see proto/lucky/frame/v1/frame.proto. */
export const lucky: Dialect = {
  path: "/ws",
  protocol: "lucky.v1",

  hello(token) {
    const hello = new WireWriter(token.length + 32).string(1, token).string(3, "bench");
    return framed(HELLO_FIELD, hello.finish());
  },

  heartbeat: framed(HEARTBEAT_FIELD, new Uint8Array(0)),

  sendTemplate({ kind, id }: Target, text: string) {
    const said = new WireWriter(text.length + 8).string(1, text).finish();
    const request = new WireWriter(text.length + 96)
      .varint(kind === "user" ? 1 : 2, BigInt(id))
      .bytes(KEY_FIELD, Buffer.alloc(KEY_BYTES))
      .bytes(CONTENT_FIELD, new WireWriter(text.length + 16).bytes(1, said).finish());
    const frame = framed(SEND_FIELD, request.finish());
    // The key is the only run of zeros of its length.
    return { frame, keyAt: frame.indexOf(Buffer.alloc(KEY_BYTES)) };
  },

  acknowledge(conversation, sequence) {
    const cursor = new WireWriter(32)
      .raw(Buffer.concat([Buffer.from([ENTRY_CONVERSATION]), conversation]))
      .varint(2, sequence);
    return framed(ACKNOWLEDGE_FIELD, new WireWriter(40).bytes(1, cursor.finish()).finish());
  },

  read(bytes, from, to, handler) {
    let at = from;
    while (at < to) {
      const tag = bytes[at++]!;
      const length = varint(bytes, at);
      at = afterVarint(bytes, at);
      const end = at + length;
      if (tag === DELIVER) readItems(bytes, at, end, handler, readEntry);
      else if (tag === SEND_RESULTS) readItems(bytes, at, end, handler, readResult);
      else if (tag === WELCOME) handler.welcome();
      else if (tag === SYNC_REQUIRED) handler.syncRequired();
      else if (tag === RPC_RESULT) handler.answered(bytes, at, end);
      at = end;
    }
  },
};

/** A frame with a call of a method, such as "lucky.message.v1.MessageService/Sync". */
export function rpcFrame(method: string, request: Uint8Array): Buffer {
  const call = new WireWriter(request.length + method.length + 32)
    .varint(1, 1)
    .string(2, method)
    .bytes(3, request);
  return framed(RPC_FIELD, call.finish());
}

function framed(field: number, message: Uint8Array): Buffer {
  const frame = new WireWriter(message.length + 8).bytes(field, message).finish();
  return clientFrame(BINARY, frame);
}

type ReadItem = (bytes: Buffer, from: number, to: number, handler: FrameHandler) => void;

function readItems(
  bytes: Buffer,
  from: number,
  to: number,
  handler: FrameHandler,
  read: ReadItem,
): void {
  let at = from;
  while (at < to) {
    if (bytes[at++] !== ITEM) throw new WireError("a list has an unknown field");
    const length = varint(bytes, at);
    at = afterVarint(bytes, at);
    read(bytes, at, at + length, handler);
    at += length;
  }
}

function readEntry(bytes: Buffer, from: number, to: number, handler: FrameHandler): void {
  let at = from;
  let sequence = 0;
  let conversationFrom = 0;
  let conversationTo = 0;
  let keyed = false;
  while (at < to) {
    const tag = bytes[at++]!;
    const value = at;
    at = afterVarint(bytes, at);
    if ((tag & 7) === 2) {
      const length = varint(bytes, value);
      if (tag === ENTRY_KEY && length === KEY_BYTES) keyed = readKey(bytes, at, handler.key);
      at += length;
    } else if (tag === ENTRY_SEQUENCE) {
      sequence = varint(bytes, value);
    } else if (tag === ENTRY_CONVERSATION) {
      conversationFrom = value;
      conversationTo = at;
    }
  }
  handler.entry(sequence, bytes, conversationFrom, conversationTo);
  if (keyed) handler.delivered(sequence);
}

function readResult(bytes: Buffer, from: number, to: number, handler: FrameHandler): void {
  let at = from;
  let keyed = false;
  while (at < to) {
    const tag = bytes[at++]!;
    const length = varint(bytes, at);
    at = afterVarint(bytes, at);
    if (tag === RESULT_KEY && length === KEY_BYTES) keyed = readKey(bytes, at, handler.key);
    else if (tag === RESULT_ACCEPTED && keyed) handler.accepted();
    else if (tag === RESULT_REFUSED) handler.refused(bytes, from, to, keyed);
    at += length;
  }
}

/** The varint at an offset as a number. Only the first five bytes of a longer varint are read. */
function varint(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return first;
  const second = bytes[at + 1]!;
  if (second < 0x80) return (first & 0x7f) | (second << 7);
  let value = (first & 0x7f) | ((second & 0x7f) << 7);
  for (let i = 2, scale = 2 ** 14; i < 5; i++, scale *= 128) {
    const byte = bytes[at + i]!;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) break;
  }
  return value;
}

function afterVarint(bytes: Buffer, at: number): number {
  let end = at;
  while (bytes[end]! >= 0x80) end++;
  return end + 1;
}
