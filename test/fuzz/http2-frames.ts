import type { Socket } from "node:net";
import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GOAWAY,
  HEADERS,
  headerBlock,
  onFrame,
  PING,
  PREFACE,
  PRIORITY,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../http2/frames.ts";
import type { Attack } from "./attack.ts";
import { within } from "./finding.ts";
import { mutate, type Random } from "./random.ts";

const FRAMES = 16;
/** A frame type that the standard does not define. */
const UNKNOWN = 200;

const BLOCKS = ["application/grpc", "application/json", "application/proto"].map((type) =>
  headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":path": "/lucky.auth.v1.AuthService/GetJwks",
    ":authority": "lucky",
    "content-type": type,
  }),
);

function badFrame(random: Random): Buffer {
  const streamId = random.once(4) ? random.below(2 ** 31) : 1 + 2 * random.below(8);
  const flags = random.once(3) ? random.below(256) : random.pick([0, 1, 4, 5]);
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2: {
      const block = random.pick(BLOCKS);
      return frame(HEADERS, flags | 4, streamId, random.once(3) ? mutate(random, block) : block);
    }
    case 3:
    case 4:
      return frame(DATA, flags, streamId, random.bytes(random.below(40)));
    case 5:
      return frame(RST_STREAM, flags, streamId, random.bytes(random.once(8) ? 3 : 4));
    case 6:
      return frame(SETTINGS, flags & ~1, random.once(8) ? 1 : 0, random.bytes(6 * random.below(4)));
    case 7:
      return frame(WINDOW_UPDATE, flags, random.once(2) ? 0 : streamId, random.bytes(4));
    case 8:
      return frame(PRIORITY, flags, streamId, random.bytes(5));
    case 9:
      return frame(CONTINUATION, flags, streamId, random.bytes(random.below(30)));
    case 10:
      return frame(random.pick([PUSH_PROMISE, GOAWAY]), flags, streamId, random.bytes(8));
    case 11:
      return frame(UNKNOWN, flags, streamId, random.bytes(random.below(30)));
    case 12:
      return frame(PING, 0, 0, random.bytes(random.once(8) ? 7 : 8));
    default:
      return mutate(random, frame(DATA, flags, streamId, random.bytes(random.below(30))));
  }
}

/**
 * An error in GOAWAY, and then calls whose bodies arrive in two frames. Node destroys a session at
 * such a GOAWAY, and must not abort at the data that follows in the same read.
 */
function goodbye(random: Random): Buffer {
  const calls = [1, 3].flatMap((streamId) => [
    frame(HEADERS, END_HEADERS, streamId, random.pick(BLOCKS)),
    frame(DATA, 0, streamId, random.bytes(1 + random.below(40))),
    frame(DATA, END_STREAM, streamId),
  ]);
  return Buffer.concat([frame(GOAWAY, 0, 0, random.bytes(8)), ...calls]);
}

/** Resolves at the answer to a PING, or when the connection closes. */
function answered(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("close", () => resolve());
    onFrame(socket, (answer) => {
      if (answer[3] === PING && answer[4] === ACK) resolve();
    });
  });
}

/** Frames of HTTP/2 that no client would send. */
export const http2Frames: Attack = {
  name: "HTTP/2 framing",
  inputs: FRAMES,
  async run(random, { target }) {
    const frames = Array.from({ length: FRAMES }, () => badFrame(random));
    // First, because most bad frames end the connection.
    if (random.once(4)) frames[0] = goodbye(random);
    const settings = frame(SETTINGS, 0, 0);
    const preface = random.once(20) ? mutate(random, PREFACE) : PREFACE;
    const bytes = Buffer.concat([preface, settings, ...frames]);
    const socket = await target.dial(target.port);
    try {
      const reaction = answered(socket);
      socket.write(bytes);
      // After an incomplete frame the server waits for more, and ends when the client does.
      socket.end(frame(PING, 0, 0, Buffer.alloc(8)));
      await within(reaction, `frames of HTTP/2: ${bytes.toString("base64")}`);
    } finally {
      socket.destroy();
    }
  },
};
