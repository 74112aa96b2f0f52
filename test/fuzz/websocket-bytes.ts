import { create, toBinary } from "@bufbuild/protobuf";
import { ClientFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Attack, Victim } from "./attack.ts";
import { requireNoInternal, within } from "./finding.ts";
import { mutate, type Random } from "./random.ts";

const MESSAGES = 8;

const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];
const FINAL = 0x80;
const MASKED = 0x80;

/** One frame of WebSocket: most have a faultless head, some lie about length, mask or flags. */
function frame(random: Random, opcode: number, payload: Buffer): Buffer {
  const first = (random.once(4) ? 0 : FINAL) | (random.once(20) ? 0x70 : 0) | opcode;
  const masked = random.once(20) ? 0 : MASKED;
  let head: Buffer;
  if (random.once(20)) {
    head = Buffer.alloc(10);
    head[1] = masked | 127;
    head.writeBigUInt64BE(random.pick([2n ** 63n, 2n ** 32n, 200_000n, 130_000n]), 2);
  } else if (payload.length > 125 || random.once(10)) {
    head = Buffer.alloc(4);
    head[1] = masked | 126;
    head.writeUInt16BE(payload.length % 65_536, 2);
  } else {
    head = Buffer.of(0, masked | payload.length);
  }
  head[0] = first;
  const mask = random.bytes(4);
  const body = payload.map((byte, at) => byte ^ mask[at % 4]!);
  return Buffer.concat([head, mask, body]);
}

function hello({ token }: Victim): Buffer {
  const kind = { case: "hello" as const, value: { accessToken: token } };
  return Buffer.from(toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind })));
}

function bytesOf(random: Random, victim: Victim): Buffer {
  const handshake = [
    "GET /ws HTTP/1.1",
    "Host: lucky",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: lucky.v1",
    "\r\n",
  ].join("\r\n");
  const parts: Buffer[] = [
    random.once(10) ? mutate(random, Buffer.from(handshake)) : Buffer.from(handshake),
  ];
  for (let i = 0; i < MESSAGES; i++) {
    const opcode = random.once(8)
      ? random.below(16)
      : random.pick([BINARY!, BINARY!, CONTINUATION!, TEXT!, PING!, PONG!, CLOSE!]);
    const payload = random.once(3)
      ? mutate(random, hello(victim))
      : random.bytes(random.below(140));
    parts.push(frame(random, opcode, payload));
  }
  const bytes = Buffer.concat(parts);
  return random.once(4) ? mutate(random, bytes) : bytes;
}

/** WebSocket connections with faults in the handshake and in the framing. */
export const websocketBytes: Attack = {
  name: "WebSocket framing",
  inputs: MESSAGES,
  async run(random, victim) {
    const { target } = victim;
    const bytes = bytesOf(random, victim);
    const socket = await target.dial(random.once(4) ? target.port : target.connectPort);
    const input = `bytes of WebSocket: ${bytes.toString("base64")}`;
    try {
      let answer = "";
      const reaction = new Promise<void>((resolve) => {
        socket.once("close", () => resolve());
        socket.on("data", (chunk) => {
          answer += chunk.toString("latin1");
        });
      });
      socket.end(bytes);
      await within(reaction, input);
      requireNoInternal(answer, input);
    } finally {
      socket.destroy();
    }
  },
};
