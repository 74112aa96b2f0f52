import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  ClientFrameSchema,
  type ServerFrame,
  ServerFrameSchema,
} from "#gen/lucky/frame/v1/frame_pb.js";
import { tallyOf } from "./reaction-tally.ts";

const HEARTBEAT_MS = 5_000;
/** Time that acknowledgements are batched, and the least time between two of them, as in the client. */
const ACKNOWLEDGE_MS = 500;
/** Decoded frames that are kept: the devices of an instance get equal frames one after the other. */
const KEPT_FRAMES = 16;

/** Decodes frames for many devices in one process: equal frames are decoded once. */
export class FrameDecoder {
  readonly #kept: { readonly bytes: Uint8Array; readonly frame: ServerFrame }[] = [];

  decode(bytes: Uint8Array): ServerFrame {
    const known = this.#kept.find((one) => Buffer.compare(one.bytes, bytes) === 0);
    if (known !== undefined) return known.frame;
    const frame = fromBinary(ServerFrameSchema, bytes);
    this.#kept.unshift({ bytes, frame });
    this.#kept.length = Math.min(this.#kept.length, KEPT_FRAMES);
    return frame;
  }
}

/** A message. */
export interface Target {
  readonly conversationId: string;
  readonly sequence: bigint;
}

/**
 * A device that keeps nothing but the counts of reactions to one message, from the live entries that it
 * receives. It acknowledges all entries.
 */
export class CountingDevice {
  readonly #socket: WebSocket;
  readonly #decoder: FrameDecoder;
  readonly #target: Target;
  #sequence = 0n;
  #tally = "";
  #entries = 0;
  #acknowledging: NodeJS.Timeout | undefined;
  #end: string | undefined;

  private constructor(socket: WebSocket, decoder: FrameDecoder, target: Target) {
    this.#socket = socket;
    this.#decoder = decoder;
    this.#target = target;
  }

  /** Opens a session. Rejects when the server closes it. */
  static open({
    address,
    accessToken,
    target,
    decoder,
  }: {
    /** Address of a connect instance: "http://host:port". */
    readonly address: string;
    readonly accessToken: string;
    readonly target: Target;
    readonly decoder: FrameDecoder;
  }): Promise<CountingDevice> {
    const url = new URL("/ws", address.replace("http", "ws"));
    const socket = new WebSocket(url, "lucky.v1");
    socket.binaryType = "arraybuffer";
    const device = new CountingDevice(socket, decoder, target);
    return new Promise((resolve, reject) => {
      const value = { accessToken, clientName: "bench" };
      socket.addEventListener("open", () => device.#send({ case: "hello", value }));
      socket.addEventListener("message", ({ data }) => {
        if (device.#take(new Uint8Array(data as ArrayBuffer))) resolve(device);
      });
      socket.addEventListener("close", ({ code, reason }) => {
        device.#end = `${code} ${reason}`.trim();
        reject(new Error(`a session ended with ${device.#end}`));
      });
      const beat = () => device.#send({ case: "heartbeat", value: {} });
      const heartbeat = setInterval(beat, HEARTBEAT_MS);
      socket.addEventListener("close", () => clearInterval(heartbeat));
    });
  }

  /** The counts of the last entry in the order of the log; as `expectedTally`. */
  get tally(): string {
    return this.#tally;
  }

  /** Entries with reactions that arrived, repeated ones included. */
  get entries(): number {
    return this.#entries;
  }

  /** Reason why the session ended; undefined while it is open. */
  get end(): string | undefined {
    return this.#end;
  }

  close(): void {
    this.#socket.close();
  }

  /** Takes a frame; returns whether it is the welcome. */
  #take(bytes: Uint8Array): boolean {
    const { kind } = this.#decoder.decode(bytes);
    if (kind.case !== "deliver") return kind.case === "welcome";
    for (const { sequence, content } of kind.value.entries) {
      if (content?.kind.case !== "reactions") continue;
      const { targetSequence, counts } = content.kind.value;
      if (targetSequence !== this.#target.sequence) continue;
      this.#entries++;
      this.#acknowledging ??= setTimeout(() => this.#acknowledge(), ACKNOWLEDGE_MS);
      if (sequence <= this.#sequence) continue;
      this.#sequence = sequence;
      this.#tally = tallyOf(counts);
    }
    return false;
  }

  #acknowledge(): void {
    this.#acknowledging = undefined;
    const { conversationId } = this.#target;
    const cursors = [{ conversationId, deliveredSequence: this.#sequence }];
    this.#send({ case: "acknowledge", value: { cursors } });
  }

  #send(kind: MessageInitShape<typeof ClientFrameSchema>["kind"]): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind })));
  }
}
