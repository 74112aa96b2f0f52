import type { Dialect, FrameHandler } from "./dialect.ts";
import { KEY_BYTES, readKey } from "./key.ts";
import { clientFrame, TEXT } from "./websocket.ts";

/** Packets of Engine.IO and, after a message's "4", of Socket.IO: one character each. */
const OPEN = "0".charCodeAt(0);
const PING = "2".charCodeAt(0);
const MESSAGE = "4".charCodeAt(0);
const CONNECT = "0".charCodeAt(0);
const EVENT = "2".charCodeAt(0);
/** First letters of the events that the compared server emits. */
const ACCEPTED = "a".charCodeAt(0);
const NAME_AT = 4;

const text = (packet: string) => clientFrame(TEXT, Buffer.from(packet));

/**
 * The part of Socket.IO over a WebSocket that the compared server needs: the client emits "send", the
 * server emits "accepted" and "message", each with the key as its first argument.
 */
export const socketIo: Dialect = {
  path: "/socket.io/?EIO=4&transport=websocket",
  protocol: undefined,
  hello: (token) => text(`40${JSON.stringify({ token })}`),
  heartbeat: text("3"),

  sendTemplate({ id }, body) {
    const key = "0".repeat(KEY_BYTES);
    const frame = text(`42${JSON.stringify(["send", key, id, body])}`);
    return { frame, keyAt: frame.indexOf(key) };
  },

  acknowledge: () => undefined,

  read(bytes, from, to, handler) {
    const kind = bytes[from];
    if (kind === MESSAGE && bytes[from + 1] === EVENT) readEvent(bytes, from, to, handler);
    else if (kind === MESSAGE && bytes[from + 1] === CONNECT) handler.welcome();
    // The heartbeat timer answers a ping before it arrives.
    else if (kind !== OPEN && kind !== PING) throw new Error("the server sent an unknown packet");
  },
};

/** 42["message","<key>",<sequence>,…] or 42["accepted","<key>"]. */
function readEvent(bytes: Buffer, from: number, to: number, handler: FrameHandler): void {
  const first = bytes[from + NAME_AT]!;
  const keyAt = from + NAME_AT + (first === ACCEPTED ? "accepted" : "message").length + 3;
  if (!readKey(bytes, keyAt, handler.key)) throw new Error("an event without a key");
  if (first === ACCEPTED) {
    handler.accepted();
    return;
  }
  let sequence = 0;
  for (let at = keyAt + KEY_BYTES + 2; at < to; at++) {
    const digit = bytes[at]! - CONNECT;
    if (digit < 0 || digit > 9) break;
    sequence = sequence * 10 + digit;
  }
  handler.delivered(sequence);
}
