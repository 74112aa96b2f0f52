import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  ClientFrameSchema,
  type ServerFrame,
  ServerFrameSchema,
} from "#gen/lucky/frame/v1/frame_pb.js";

type ServerKind = Exclude<ServerFrame["kind"], { case: undefined }>;
type ValueOf<K extends ServerKind["case"]> = Extract<ServerKind, { case: K }>["value"];

/**
 * A device whose socket can be paused, so that it stops reading: a WebSocket client over node:net.
 */
export class SlowReader {
  readonly socket: Socket;
  readonly #frames: ServerKind[] = [];
  #bytes: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  #waiting: (() => void) | undefined;
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.on("close", () => resolve()));
    void this.closed.then(() => this.#waiting?.());
    socket.on("error", () => {});
  }

  /** Opens a session over a connection to the port; over a new one when `socket` is absent. */
  static async open(
    port: number,
    accessToken: string,
    socket: Socket = connect({ port, host: "127.0.0.1" }),
  ): Promise<SlowReader> {
    socket.write(
      "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Protocol: lucky.v1\r\n\r\n",
    );
    const head = await new Promise<Buffer>((resolve, reject) => {
      socket.once("data", resolve);
      socket.once("close", () => reject(new Error("the connection was closed")));
    });
    assert.match(head.toString("latin1"), /^HTTP\/1.1 101/);
    const device = new SlowReader(socket);
    socket.on("data", (chunk) => device.#take(chunk));
    device.send({ case: "hello", value: { accessToken } });
    await device.next("welcome");
    return device;
  }

  send(kind: object): void {
    const body = toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind: kind as never }));
    const head = body.length < 126 ? [body.length | 0x80] : [0xfe, body.length >> 8, body.length];
    this.socket.write(Buffer.from([0x82, ...head, 0, 0, 0, 0, ...body]));
  }

  /**
   * Waits for the oldest frame of a kind, removes and returns it; other frames stay. Rejects when the
   * socket closes.
   */
  async next<K extends ServerKind["case"]>(kind: K): Promise<ValueOf<K>> {
    for (;;) {
      const at = this.#frames.findIndex((frame) => frame.case === kind);
      if (at >= 0) return this.#frames.splice(at, 1)[0]!.value as ValueOf<K>;
      if (this.socket.destroyed) throw new Error(`closed while waiting for ${kind}`);
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }

  /** Frames of a kind that have arrived and were not taken. */
  seen<K extends ServerKind["case"]>(kind: K): ValueOf<K>[] {
    return this.#frames.filter((f) => f.case === kind).map((f) => f.value as ValueOf<K>);
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const short = (this.#bytes[1] ?? 0) & 0x7f;
      const start = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (this.#bytes.length < start) break;
      const long = short === 127 ? Number(this.#bytes.readBigUInt64BE(2)) : undefined;
      const length = long ?? (short === 126 ? this.#bytes.readUInt16BE(2) : short);
      if (this.#bytes.length < start + length) break;
      const body = this.#bytes.subarray(start, start + length);
      if (this.#bytes[0] === 0x82) {
        const { kind } = fromBinary(ServerFrameSchema, body);
        if (kind.case !== undefined) this.#frames.push(kind);
      }
      this.#bytes = this.#bytes.subarray(start + length);
    }
    this.#waiting?.();
  }
}
