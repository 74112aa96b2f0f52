/**
 * A small server that forwards messages: uWebSockets.js and Lucky's frames, and nothing else. It checks no
 * token, stores nothing, calls no service and does not batch: every frame is a separate write. So it is not
 * an upper bound: a server that batches its writes may do more on the same machine. It notifies its parent
 * process when it listens.
 */
import * as uWS from "uWebSockets.js";
import { readVarint, scan, varintLength, WireWriter } from "#platform/wire.ts";

/** Field numbers of ClientFrame, of ServerFrame and of their messages. */
const HELLO = 1;
const SEND = 2;
const WELCOME = 1;
const SEND_RESULTS = 2;
const DELIVER = 3;
const KEY = 6;

interface Attached {
  /** Sequence of the last message that the socket sent. */
  sequence: number;
}

const sockets = new Map<number, uWS.WebSocket<Attached>>();
const welcome = new WireWriter(8).bytes(WELCOME, new Uint8Array(0)).finish();

function take(socket: uWS.WebSocket<Attached>, bytes: Uint8Array): void {
  const [frame] = scan(bytes);
  const [kind, , from, to] = frame!;
  if (kind === HELLO) {
    const [, , start, end] = scan(bytes, from, to)[0]!;
    sockets.set(Number(Buffer.from(bytes.subarray(start, end)).toString("latin1")), socket);
    socket.send(welcome, true);
  } else if (kind === SEND) {
    relay(socket, bytes.subarray(from, to));
  }
}

/** Forwards the fields of a send unchanged, after a sequence that the relay generates. */
function relay(socket: uWS.WebSocket<Attached>, send: Uint8Array): void {
  const target = readVarint(send, 1);
  const fields = send.subarray(1 + varintLength(send, 1));
  const sequence = ++socket.getUserData().sequence;
  const entry = new WireWriter(fields.length + 24)
    .varint(1, target)
    .varint(2, sequence)
    .raw(fields);
  const deliver = new WireWriter(fields.length + 32).bytes(1, entry.finish()).finish();
  const frame = new WireWriter(deliver.length + 8).bytes(DELIVER, deliver).finish();
  sockets.get(target)?.send(frame, true);

  const [, , start, end] = scan(fields).find(([field]) => field === KEY)!;
  const accepted = new WireWriter(24).varint(1, target).varint(2, sequence).finish();
  const result = new WireWriter(96).bytes(1, fields.subarray(start, end)).bytes(2, accepted);
  const results = new WireWriter(104).bytes(1, result.finish()).finish();
  socket.send(new WireWriter(112).bytes(SEND_RESULTS, results).finish(), true);
}

const app = uWS.App();
app.ws<Attached>("/ws", {
  maxPayloadLength: 131_072,
  maxBackpressure: 1 << 26,
  idleTimeout: 60,
  upgrade(response, request, context) {
    response.upgrade<Attached>(
      { sequence: 0 },
      request.getHeader("sec-websocket-key"),
      request.getHeader("sec-websocket-protocol"),
      "",
      context,
    );
  },
  message: (socket, message) => take(socket, new Uint8Array(message)),
});
app.listen(Number(process.argv[2]), (listening) => {
  if (!listening) throw new Error(`port ${process.argv[2]} is taken`);
  process.send?.("ready");
});
process.on("disconnect", () => process.exit());
