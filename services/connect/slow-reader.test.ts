import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  ClientFrameSchema,
  CloseCode,
  type ServerFrame,
  ServerFrameSchema,
} from "../../gen/lucky/frame/v1/frame_pb.js";
import { EntrySchema } from "../../gen/lucky/message/v1/message_pb.js";
import { groupChannel, userChannel } from "../../platform/channels.ts";
import { HandClock } from "../../test/clock.ts";
import { type Stand, startStand } from "../../test/stand.ts";

/** A WebSocket over a plain socket, which reads only when it is told to. */
class Sluggard {
  readonly socket: Socket;
  readonly #frames: ServerFrame["kind"][] = [];
  #bytes: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  #waiting: (() => void) | undefined;
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.on("close", () => resolve()));
    socket.on("error", () => {});
  }

  static async open(port: number, accessToken: string): Promise<Sluggard> {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.write(
      "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Protocol: lucky.v1\r\n\r\n",
    );
    const head = await new Promise<Buffer>((resolve) => socket.once("data", resolve));
    assert.match(head.toString("latin1"), /^HTTP\/1.1 101/);
    const device = new Sluggard(socket);
    socket.on("data", (chunk) => device.#take(chunk));
    device.say({ case: "hello", value: { accessToken } });
    await device.next("welcome");
    return device;
  }

  say(kind: object): void {
    const body = toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind: kind as never }));
    const head = body.length < 126 ? [body.length | 0x80] : [0xfe, body.length >> 8, body.length];
    this.socket.write(Buffer.from([0x82, ...head, 0, 0, 0, 0, ...body]));
  }

  async next(kind: string): Promise<unknown> {
    for (;;) {
      const at = this.#frames.findIndex((frame) => frame.case === kind);
      if (at >= 0) return this.#frames.splice(at, 1)[0]!.value;
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
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
      if (this.#bytes[0] === 0x82) this.#frames.push(fromBinary(ServerFrameSchema, body).kind);
      this.#bytes = this.#bytes.subarray(start + length);
    }
    this.#waiting?.();
  }
}

/** Delivers `count` entries of 32 KiB of a conversation to a channel, one envelope each. */
async function flood(
  stand: Stand,
  options: { channel: string; id: string; count: number; from?: number },
) {
  const value = { type: "noise", data: new Uint8Array(32_768) };
  const content = { kind: { case: "custom" as const, value } };
  const entry = toBinary(EntrySchema, create(EntrySchema, { conversationId: options.id, content }));
  const from = options.from ?? 1;
  for (let sequence = from; sequence < from + options.count; sequence += 1) {
    await stand.ingress.publish([options.channel], {
      deliveries: [
        {
          channels: [options.channel],
          conversationId: options.id,
          lastSequence: BigInt(sequence),
          entries: [entry],
          originSessionIds: [""],
        },
      ],
    });
    // As over a network: what was published is taken before more comes.
    if (sequence % 8 === 0) await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

const count = 3_000;
const noiseBytes = count * 32_768;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

for (const [what, channel, id] of [
  ["its own channel", userChannel("1"), "500"],
  ["a group", groupChannel("77"), "77"],
] as const) {
  test(`a device that does not read ${what} costs a bounded amount of memory and is told to sync when it reads`, async (t) => {
    const clock = new HandClock();
    const stand = await startStand(t, { clock });
    await stand.ingress.member("77", "1", true);
    const token = await stand.issuer.token({ sub: "1", did: "slow", dcl: 3 });
    const slow = await Sluggard.open(stand.port, token);
    t.after(async () => void slow.socket.destroy());
    const witness = await stand.device("2");
    slow.socket.pause();
    // The first half brings the process to its working size, the second must not add to it.
    await flood(stand, { channel, id, count });
    collectGarbage();
    const before = process.memoryUsage.rss();
    await flood(stand, { channel, id, count, from: count + 1 });
    await witness.roundTrip();
    collectGarbage();
    const grown = process.memoryUsage.rss() - before;
    assert.ok(grown < noiseBytes / 2, `${grown} bytes more for one slow reader`);

    slow.socket.resume();
    const sync = (await slow.next("syncRequired")) as {
      conversationId: string;
      lastSequence: bigint;
    };
    assert.equal(sync.conversationId, id);
    assert.equal(sync.lastSequence, BigInt(count * 2));
  });
}

test("a device that does not read for too long is cut off", async (t) => {
  const clock = new HandClock();
  const stand = await startStand(t, { clock, config: { heartbeatIntervalMs: 300_000 } });
  const slow = await Sluggard.open(stand.port, await stand.issuer.token());
  t.after(async () => void slow.socket.destroy());
  slow.socket.pause();
  await flood(stand, { channel: userChannel("1"), id: "500", count: 500 });
  const witness = await stand.device("2");
  await witness.roundTrip();
  clock.advance(62_000);
  const end = stand.events.find(({ event }) => event === "session_end");
  assert.deepEqual([end?.userId, end?.code], ["1", CloseCode.UNAVAILABLE]);
});
