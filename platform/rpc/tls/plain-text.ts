import { constants } from "node:http2";
import type { Socket } from "node:net";
import { errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";

const TEXT = "this port speaks TLS: use https:// and wss://";
/** Time in which the client can read the answer, ms. */
const LINGER_MS = 1_000;

/** Types of HTTP/2 frames (RFC 9113, section 6). */
const SETTINGS = 0x4;
const GOAWAY = 0x7;

/**
 * Tells a client without TLS to use it, in the protocol of its connection, and closes the connection.
 * Its request is not executed.
 */
export function answerPlainText(socket: Socket, protocol: "http/1.1" | "h2", clock: Clock): void {
  socket.end(protocol === "h2" ? goAway() : badRequest());
  // A close with unread bytes would reset the connection, and with it the answer.
  socket.resume();
  const timer = clock.after(LINGER_MS, () => socket.destroy());
  socket.once("close", () => timer.stop());
}

function badRequest(): Buffer {
  const body = errorToJsonBytes(fail(ErrorReason.INVALID_ARGUMENT, TEXT), undefined);
  const head =
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\n" +
    `Content-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

/** The settings that must come first, and GOAWAY with the text as its debug data. */
function goAway(): Buffer {
  const codes = Buffer.alloc(8);
  codes.writeUInt32BE(constants.NGHTTP2_INADEQUATE_SECURITY, 4);
  return Buffer.concat([
    frame(SETTINGS, Buffer.alloc(0)),
    frame(GOAWAY, Buffer.concat([codes, Buffer.from(TEXT)])),
  ]);
}

function frame(type: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  return Buffer.concat([head, payload]);
}
