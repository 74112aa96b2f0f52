import type { Socket } from "node:net";
import { END_HEADERS, END_STREAM, frame, HEADERS, reset } from "../../../test/http2/frames.ts";

const CANCEL = 8;

/** A header of HPACK (RFC 7541, 6.2.1): the name from the static table, the value as a literal that is indexed. */
function literal(name: number, value: string): Buffer {
  return Buffer.concat([Buffer.of(0x40 | name, value.length), Buffer.from(value)]);
}

/** Indexes of the static table: POST, the scheme http, and names whose values are literals. */
const METHOD_POST = 0x83;
const SCHEME_HTTP = 0x86;
const AUTHORITY = 1;
const PATH = 4;
const CONTENT_TYPE = 31;

/** Requests without a body, each of which the client resets at once: 27 bytes each. */
export function resetRequests(path: string, count: number): Buffer {
  const first = Buffer.concat([
    Buffer.of(METHOD_POST, SCHEME_HTTP),
    literal(PATH, path),
    literal(AUTHORITY, "x"),
    literal(CONTENT_TYPE, "application/proto"),
  ]);
  // The dynamic table has the three literals, the latest first, from index 62 on.
  const next = Buffer.of(METHOD_POST, SCHEME_HTTP, 0x80 | 64, 0x80 | 63, 0x80 | 62);
  const frames = Array.from({ length: count }, (_, nth) => {
    const stream = 2 * nth + 1;
    const headers = nth === 0 ? first : next;
    return Buffer.concat([
      frame(HEADERS, END_STREAM | END_HEADERS, stream, headers),
      reset(stream, CANCEL),
    ]);
  });
  return Buffer.concat(frames);
}

/** Resolves when the server has ended or closed the connection. Reads and drops what it sends. */
export function closedByServer(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    socket.once("end", resolve);
    socket.once("close", () => resolve());
  });
}
