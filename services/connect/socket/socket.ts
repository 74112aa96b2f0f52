import * as uWS from "uWebSockets.js";
import { createServer } from "node:net";
import type { PeerProof } from "#platform/identity/peer-proof.ts";
import type { Log } from "#platform/log.ts";
import { PEER_HEADER } from "#platform/rpc/peer.ts";

/** The subprotocol of the contract. */
const SUBPROTOCOL = "lucky.v1";

/** Native option: refuse a port that is taken instead of sharing it. */
const EXCLUSIVE_PORT = 1;

/** How far frames above the limit still reach us, so that they get their close code. */
const OVERSIZE_BYTES = 65_536;

/** Waiting bytes above which a polite close would only be kept in memory for a peer that does not read. */
const POLITE_CLOSE_BYTES = 65_536;

/** Frames of one moment are written at once when they have so many bytes. */
const JOINED_BYTES = 65_536;

/** What uWebSockets.js answers when it dropped a frame because too many bytes wait. */
const NATIVE_DROPPED = 2;

/** What became of a frame given to a socket: on its way, kept until the peer reads, or dropped. */
export type Sent = "sent" | "kept" | "dropped";

/** One WebSocket. Every method is harmless after the socket closed. */
export interface Socket {
  /** Address of the peer, as text. */
  readonly peer: string;
  /**
   * Sends one binary frame. Frames of one moment leave in one write: the frame must not change after
   * the call.
   */
  send(frame: Uint8Array): Sent;
  /** Bytes waiting for the peer to read them. */
  waitingBytes(): number;
  /** Hears a topic, after what was sent before; or hears it no more. */
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  /** Closes with a code. A peer that does not read is cut off. */
  end(code: number, text: string): void;
  /** Cuts the connection. */
  terminate(): void;
}

/** What happens on sockets, each with what `accept` made of it: one object for all of them. */
export interface SocketEvents<T> {
  /** A socket opened. */
  accept(socket: Socket): T;
  /** A binary frame came. The bytes are good only during the call. */
  frame(accepted: T, bytes: Uint8Array): void;
  /** A frame came that is not binary. */
  notBinary(accepted: T): void;
  /** Some waiting bytes have gone. */
  drained(accepted: T): void;
  /** A frame was dropped because too many bytes wait. */
  dropped(accepted: T): void;
  /** A frame that `send` had taken was dropped when it was written: more bytes waited by then. */
  lost(accepted: T): void;
  /** The socket has closed. The last call. */
  closed(accepted: T, code: number): void;
}

export interface SocketServerOptions<T> {
  host: string;
  /** 0 for a free one. */
  port: number;
  maxFrameBytes: number;
  maxBackpressureBytes: number;
  /** Seconds without any traffic after which a socket is cut, as the last resort. */
  idleSeconds: number;
  /** Reads where a socket comes from out of what our gateway says; undefined: it is no tunnel. */
  proof: Pick<PeerProof, "read">;
  /** Whether new sockets are taken. */
  accepting(): boolean;
  events: SocketEvents<T>;
  log: Log;
}

export interface SocketServer {
  readonly port: number;
  /** Sends a frame to every socket that hears the topic. */
  publish(topic: string, frame: Uint8Array): void;
  /** Takes no new sockets. */
  stopListening(): void;
  /** Cuts everything. Idempotent. */
  close(): void;
}

interface Attached<T> {
  readonly peer: string;
  accepted: T | undefined;
  socket: NativeSocket<T> | undefined;
}

/**
 * Sockets with frames to be written at the end of the next turn of the event loop: the result of a
 * send and what the other side wrote meanwhile go in one system call, which costs more than all the
 * rest of a frame (17 % more messages a second with one in flight for each user, measured).
 */
class Outgoing<T> {
  #sockets: NativeSocket<T>[] = [];
  /** Bytes that may wait for one socket. */
  readonly maxBytes: number;
  /** Called after a write of which not all was taken. */
  readonly lost: (attached: Attached<T>) => void;

  constructor(maxBytes: number, lost: (attached: Attached<T>) => void) {
    this.maxBytes = maxBytes;
    this.lost = lost;
  }

  add(socket: NativeSocket<T>): void {
    this.#sockets.push(socket);
    if (this.#sockets.length === 1) setImmediate(() => setImmediate(() => this.#write()));
  }

  #write(): void {
    const sockets = this.#sockets;
    this.#sockets = [];
    for (const socket of sockets) socket.flush();
  }
}

/** A native socket behind a guard: the native one must not be touched after it closed. */
class NativeSocket<T> implements Socket {
  readonly peer: string;
  readonly #outgoing: Outgoing<T>;
  #native: uWS.WebSocket<Attached<T>> | undefined;
  /** Absent while nothing is to be written: most sockets are idle. */
  #frames: Uint8Array[] | undefined;
  #bytes = 0;

  constructor(native: uWS.WebSocket<Attached<T>>, peer: string, outgoing: Outgoing<T>) {
    this.#native = native;
    this.peer = peer;
    this.#outgoing = outgoing;
  }

  send(frame: Uint8Array): Sent {
    if (!this.#native) return "dropped";
    const waiting = this.#native.getBufferedAmount();
    if (waiting > this.#outgoing.maxBytes) return "dropped";
    this.#frames ??= [];
    this.#frames.push(frame);
    this.#bytes += frame.length;
    // Not more than a moment's worth: whether the peer reads shows only in what was written.
    if (this.#bytes >= JOINED_BYTES) this.flush();
    else if (this.#frames.length === 1) this.#outgoing.add(this);
    if (!this.#native) return "dropped";
    return waiting === 0 ? "sent" : "kept";
  }

  waitingBytes(): number {
    return this.#native?.getBufferedAmount() ?? 0;
  }

  /** Writes what was sent. */
  flush(): void {
    const native = this.#native;
    const frames = this.#frames;
    if (!frames) return;
    this.#frames = undefined;
    this.#bytes = 0;
    if (!native) return;
    let lost = false;
    if (frames.length === 1) {
      lost = native.send(frames[0]!, true) === NATIVE_DROPPED;
    } else {
      native.cork(() => {
        for (const frame of frames) if (native.send(frame, true) === NATIVE_DROPPED) lost = true;
      });
    }
    if (lost) this.#outgoing.lost(native.getUserData());
  }

  subscribe(topic: string): void {
    this.flush();
    this.#native?.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#native?.unsubscribe(topic);
  }

  end(code: number, text: string): void {
    this.flush();
    const native = this.#native;
    if (!native) return;
    this.#native = undefined;
    if (native.getBufferedAmount() > POLITE_CLOSE_BYTES) native.close();
    else native.end(code, text);
  }

  terminate(): void {
    const native = this.#native;
    this.#native = undefined;
    native?.close();
  }

  forget(): void {
    this.#native = undefined;
  }
}

/**
 * Listens for WebSockets on /ws, and answers GET /healthz. Rejects with a clear error when the port
 * is taken.
 */
export async function listenSockets<T>(options: SocketServerOptions<T>): Promise<SocketServer> {
  const { events, log } = options;
  const app = uWS.App();
  // An exception that reached native code would end the process.
  const guarded = (event: string, socket: NativeSocket<T> | undefined, work: () => void): void => {
    try {
      work();
    } catch (error) {
      log.error({ event: "socket_fault", during: event, err: error });
      socket?.terminate();
    }
  };

  const outgoing = new Outgoing<T>(options.maxBackpressureBytes, ({ accepted, socket }) => {
    guarded("lost", socket, () => {
      if (accepted !== undefined) events.lost(accepted);
    });
  });

  app.ws<Attached<T>>("/ws", {
    maxPayloadLength: options.maxFrameBytes + OVERSIZE_BYTES,
    maxBackpressure: options.maxBackpressureBytes,
    closeOnBackpressureLimit: false,
    idleTimeout: Math.min(960, Math.max(8, options.idleSeconds)),
    sendPingsAutomatically: false,
    maxLifetime: 0,
    upgrade(response, request, context) {
      try {
        upgrade(response, request, context, options);
      } catch (error) {
        log.error({ event: "socket_fault", during: "upgrade", err: error });
      }
    },
    open(native) {
      const attached = native.getUserData();
      const socket = new NativeSocket(native, attached.peer, outgoing);
      attached.socket = socket;
      guarded("open", socket, () => {
        attached.accepted = events.accept(socket);
      });
    },
    message(native, message, isBinary) {
      const { accepted, socket } = native.getUserData();
      guarded("message", socket, () => {
        if (accepted === undefined) return;
        if (isBinary) events.frame(accepted, new Uint8Array(message));
        else events.notBinary(accepted);
      });
    },
    drain(native) {
      const { accepted, socket } = native.getUserData();
      guarded("drain", socket, () => {
        if (accepted !== undefined) events.drained(accepted);
      });
    },
    dropped(native) {
      const { accepted, socket } = native.getUserData();
      guarded("dropped", socket, () => {
        if (accepted !== undefined) events.dropped(accepted);
      });
    },
    close(native, code) {
      const { accepted, socket } = native.getUserData();
      socket?.forget();
      guarded("close", undefined, () => {
        if (accepted !== undefined) events.closed(accepted, code);
      });
    },
  });
  app.get("/healthz", (response) => {
    const up = options.accepting();
    response.writeStatus(up ? "200 OK" : "503 Service Unavailable").end(up ? "ok" : "not ready");
  });
  app.any("/*", (response) => {
    response.writeStatus("404 Not Found").end("not found");
  });

  let listening = await new Promise<uWS.us_listen_socket | undefined>((resolve) => {
    // The declared types lack the overload with a host and options.
    const listen = app.listen.bind(app) as unknown as (
      host: string,
      port: number,
      listenOptions: number,
      done: (socket: uWS.us_listen_socket | false) => void,
    ) => void;
    listen(options.host, options.port, EXCLUSIVE_PORT, (socket) => resolve(socket || undefined));
  });
  if (!listening) {
    app.close();
    const cause = await whyNot(options.host, options.port);
    throw new Error(`cannot listen on ${options.host}:${options.port}: ${cause}`, { cause });
  }
  const port = uWS.us_socket_local_port(listening as uWS.us_socket);
  let open = true;

  return {
    port,
    publish(topic, frame) {
      if (open) app.publish(topic, frame, true);
    },
    stopListening() {
      if (listening) uWS.us_listen_socket_close(listening);
      listening = undefined;
    },
    close() {
      if (!open) return;
      open = false;
      listening = undefined;
      app.close();
    },
  };
}

function upgrade(
  response: uWS.HttpResponse,
  request: uWS.HttpRequest,
  context: uWS.us_socket_context_t,
  { accepting, proof }: Pick<SocketServerOptions<unknown>, "accepting" | "proof">,
): void {
  const offered = request.getHeader("sec-websocket-protocol");
  const known = offered.split(",").some((name) => name.trim() === SUBPROTOCOL);
  if (!accepting()) {
    response.writeStatus("503 Service Unavailable").end("not ready");
  } else if (offered !== "" && !known) {
    response.writeStatus("400 Bad Request").end(`the subprotocol is ${SUBPROTOCOL}`);
  } else {
    const key = request.getHeader("sec-websocket-key");
    const remote = Buffer.from(response.getRemoteAddressAsText()).toString("latin1");
    const peer = proof.read(request.getHeader(PEER_HEADER), key) ?? remote;
    response.upgrade<Attached<unknown>>(
      { peer, accepted: undefined, socket: undefined },
      key,
      known ? SUBPROTOCOL : "",
      "",
      context,
    );
  }
}

/** uWebSockets.js says only that it could not listen; Node's own server says why. */
function whyNot(host: string, port: number): Promise<Error> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", resolve);
    server.listen({ host, port, exclusive: true }, () => {
      server.close(() => resolve(new Error("nobody knows why")));
    });
  });
}
