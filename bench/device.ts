import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ClientFrameSchema, ServerFrameSchema } from "../gen/lucky/frame/v1/frame_pb.js";
import { BYTES, readVarint, readVarint64, scan, WireWriter } from "../platform/wire.ts";

/** Field numbers of lucky.frame.v1: of ClientFrame, of ServerFrame and in both lists. */
const sendField = 2;
const acknowledgeField = 3;
const sendResultsField = 2;
const deliverField = 3;
const itemField = 1;
/** Of lucky.message.v1: Entry and SendRequest. */
const conversationField = 1;
const sequenceField = 2;
const senderField = 5;
const keyField = 6;
const contentField = 10;
/** Of SendResult. */
const resultKeyField = 1;
const acceptedField = 2;

/** What a device tells. Keys are those of the sends, senders are user ids. */
export interface DeviceEvents {
  accepted(key: string): void;
  /** `result` is the encoded lucky.message.v1.SendResult. */
  refused(key: string, result: Uint8Array): void;
  delivered(sender: bigint, key: string, conversation: bigint, sequence: number): void;
  ended(code: number, reason: string): void;
}

/**
 * A device with as little work of its own as it can have: frames are written and read by hand, so
 * that the load generator does not measure itself.
 */
export class Device {
  readonly #socket: WebSocket;
  readonly #events: DeviceEvents;
  readonly #unacknowledged = new Map<bigint, number>();

  private constructor(socket: WebSocket, events: DeviceEvents) {
    this.#socket = socket;
    this.#events = events;
  }

  /** Opens a session; resolves at Welcome. */
  static async open(url: string, accessToken: string, events: DeviceEvents): Promise<Device> {
    const socket = new WebSocket(url, "lucky.v1");
    socket.binaryType = "arraybuffer";
    const device = new Device(socket, events);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => {
        const kind = { case: "hello", value: { accessToken, clientVersion: "bench" } } as const;
        socket.send(encode(kind));
      });
      socket.addEventListener("close", ({ code, reason }) => {
        reject(new Error(`a session ended with ${code} ${reason}`));
        events.ended(code, reason);
      });
      const welcome = ({ data }: MessageEvent) => {
        const frame = fromBinary(ServerFrameSchema, new Uint8Array(data as ArrayBuffer));
        if (frame.kind.case !== "welcome") return;
        socket.removeEventListener("message", welcome);
        socket.addEventListener("message", (event) => device.#take(event.data as ArrayBuffer));
        resolve();
      };
      socket.addEventListener("message", welcome);
    });
    return device;
  }

  send(frame: Uint8Array<ArrayBuffer>): void {
    this.#socket.send(frame);
  }

  /** Acknowledges what was delivered since the last time. */
  acknowledge(): void {
    if (this.#unacknowledged.size === 0) return;
    const request = new WireWriter(64);
    for (const [conversation, sequence] of this.#unacknowledged) {
      request.bytes(
        itemField,
        new WireWriter(32).varint(1, conversation).varint(2, sequence).finish(),
      );
    }
    this.#unacknowledged.clear();
    this.send(new WireWriter(64).bytes(acknowledgeField, request.finish()).finish());
  }

  heartbeat(): void {
    this.send(encode({ case: "heartbeat", value: {} }));
  }

  close(): void {
    this.#socket.close();
  }

  #take(data: ArrayBuffer): void {
    const bytes = Buffer.from(data);
    for (const [kind, type, from, to] of scan(bytes)) {
      if (type !== BYTES) continue;
      if (kind === deliverField) {
        for (const [, , start, end] of scan(bytes, from, to)) this.#entry(bytes, start, end);
      } else if (kind === sendResultsField) {
        for (const [, , start, end] of scan(bytes, from, to)) this.#result(bytes, start, end);
      }
    }
  }

  #entry(bytes: Buffer, from: number, to: number): void {
    let conversation = 0n;
    let sequence = 0;
    let sender = 0n;
    let key = "";
    for (const [field, , start, end] of scan(bytes, from, to)) {
      if (field === conversationField) conversation = readVarint64(bytes, start);
      else if (field === sequenceField) sequence = readVarint(bytes, start);
      else if (field === senderField) sender = readVarint64(bytes, start);
      else if (field === keyField) key = bytes.toString("latin1", start, end);
    }
    const before = this.#unacknowledged.get(conversation) ?? 0;
    this.#unacknowledged.set(conversation, Math.max(before, sequence));
    this.#events.delivered(sender, key, conversation, sequence);
  }

  #result(bytes: Buffer, from: number, to: number): void {
    let key = "";
    let accepted = false;
    for (const [field, , start, end] of scan(bytes, from, to)) {
      if (field === resultKeyField) key = bytes.toString("latin1", start, end);
      else if (field === acceptedField) accepted = true;
    }
    if (accepted) this.#events.accepted(key);
    else this.#events.refused(key, bytes.subarray(from, to));
  }
}

/** An encoded ClientFrame with a text message to a user. */
export function sendFrame(userId: bigint, key: string, text: string): Uint8Array<ArrayBuffer> {
  const content = new WireWriter(text.length + 16).bytes(
    1,
    new WireWriter(text.length + 8).string(1, text).finish(),
  );
  const request = new WireWriter(text.length + 96)
    .varint(1, userId)
    .string(keyField, key)
    .bytes(contentField, content.finish());
  return new WireWriter(text.length + 112).bytes(sendField, request.finish()).finish();
}

function encode(kind: Parameters<typeof frameOf>[0]): Uint8Array<ArrayBuffer> {
  return toBinary(ClientFrameSchema, frameOf(kind));
}

function frameOf(
  kind:
    | { case: "hello"; value: { accessToken: string; clientVersion: string } }
    | { case: "heartbeat"; value: object },
) {
  return create(ClientFrameSchema, { kind });
}
