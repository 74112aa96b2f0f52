import * as uWS from "uWebSockets.js";
import type { ProxyChain } from "#platform/client-address.ts";
import type { PeerProof } from "#platform/identity/peer-proof.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTlsFiles } from "#platform/mesh-tls.ts";
import { canonicalAddress } from "#platform/network.ts";
import { PEER_HEADER } from "#platform/rpc/peer.ts";
import { type RequestHeaders, upgradeFault } from "#platform/rpc/websocket-upgrade.ts";
import type { Admissions } from "./admissions.ts";
import { listenError } from "./listen-error.ts";
import { type Attached, NativeSocket, WriteQueue } from "./native-socket.ts";
import type { Socket } from "./socket.ts";

/** The subprotocol of the contract. */
const SUBPROTOCOL = "lucky.v1";

/** Native option: fail when the port is taken instead of sharing it. */
const EXCLUSIVE_PORT = 1;

/**
 * Bytes above the frame limit that the native server still accepts, so that an oversized frame gets
 * its close code.
 */
const OVERSIZE_BYTES = 65_536;

/** Bounds of the native idle time-out, seconds. */
const MIN_IDLE_SECONDS = 8;
const MAX_IDLE_SECONDS = 960;

/** Events of all sockets, each with the result of `accept`: one object for every socket. */
export interface SocketEvents<T> {
  /** A socket opened. */
  accept(socket: Socket): T;
  /** A binary frame arrived. The bytes are valid only during the call. */
  frame(accepted: T, bytes: Uint8Array): void;
  /** A frame arrived that is not binary. */
  notBinary(accepted: T): void;
  /** The peer answered a ping. */
  pong(accepted: T): void;
  /** The peer has read some of the queued bytes. */
  drained(accepted: T): void;
  /** A published frame was dropped, because too many bytes are queued. */
  dropped(accepted: T): void;
  /**
   * A flush dropped a frame that `send` had accepted, because more bytes were queued before the
   * flush.
   */
  lost(accepted: T): void;
  /** The socket has closed. The last call. */
  closed(accepted: T, code: number): void;
}

export interface SocketServerOptions<T> {
  host: string;
  /** Port to listen on; 0 for any free port. */
  port: number;
  maxFrameBytes: number;
  maxBackpressureBytes: number;
  /** Seconds without any traffic after which a socket is terminated: the last resort. */
  idleSeconds: number;
  /** Reads the peer's address from the gateway's header; undefined when no gateway wrote it. */
  proof: Pick<PeerProof, "read">;
  /** Accepts TLS only, from callers with a certificate of the mesh; plain text when absent. */
  tls?: MeshTlsFiles | undefined;
  /** Finds the address of a device that no gateway proved; it is the peer's own when absent. */
  proxies?: Pick<ProxyChain, "clientAddress">;
  /** Places of the connections; without bounds when absent. */
  admissions?: Admissions | undefined;
  /** Why new sockets are refused now; undefined when they are accepted. */
  refusal(): string | undefined;
  events: SocketEvents<T>;
  log: Log;
}

export interface SocketServer {
  readonly port: number;
  /** Sends a frame to every socket that is subscribed to the topic. */
  publish(topic: string, frame: Uint8Array): void;
  /** Accepts no new sockets. */
  stopListening(): void;
  /** Terminates all sockets. Idempotent. */
  close(): void;
}

/**
 * Listens for WebSockets on /ws, and answers GET /healthz. Rejects with a clear error when the port
 * is taken.
 */
export async function listenSockets<T>(options: SocketServerOptions<T>): Promise<SocketServer> {
  const app = createApp(options.tls);
  boundConnections(app, options);
  app.ws<Attached<T>>("/ws", {
    maxPayloadLength: options.maxFrameBytes + OVERSIZE_BYTES,
    maxBackpressure: options.maxBackpressureBytes,
    closeOnBackpressureLimit: false,
    idleTimeout: Math.min(MAX_IDLE_SECONDS, Math.max(MIN_IDLE_SECONDS, options.idleSeconds)),
    sendPingsAutomatically: false,
    maxLifetime: 0,
    ...nativeEvents(options),
  });
  app.get("/healthz", (response) => {
    const unavailable = options.refusal();
    response.writeStatus(unavailable === undefined ? "200 OK" : "503 Service Unavailable");
    response.end(unavailable ?? "ok", true);
  });
  // A key of another length than 24 characters does not reach the upgrade.
  app.any("/ws", (response) => {
    refuse(response, "an upgrade to WebSocket with one valid Sec-WebSocket-Key is expected");
  });
  app.any("/*", (response) => {
    response.writeStatus("404 Not Found").end("not found", true);
  });

  let listening = await listen(app, options);
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

function createApp(tls: MeshTlsFiles | undefined): uWS.TemplatedApp {
  if (tls === undefined) return uWS.App();
  return uWS.SSLApp({
    cert_file_name: tls.certFile,
    key_file_name: tls.keyFile,
    ca_file_name: tls.caFile,
  });
}

/** Closes new connections that the bounds refuse. */
function boundConnections<T>(app: uWS.TemplatedApp, options: SocketServerOptions<T>): void {
  const { admissions, log } = options;
  if (admissions === undefined) return;
  /** Called with 1 when a connection opens, with -1 when one closes, whose address is unknown. */
  function changed(response: uWS.HttpResponse, change: number): void {
    try {
      if (change > 0 && !admissions!.accept(remoteOf(response))) response.close();
    } catch (error) {
      log.error({ event: "socket_fault", during: "accept", err: error });
    }
  }
  app.filter(changed);
}

/** Passes native events to `options.events`. */
function nativeEvents<T>(options: SocketServerOptions<T>) {
  const { events, log } = options;
  /** An exception that reached native code would end the process. */
  const guarded = (event: string, socket: NativeSocket<T> | undefined, work: () => void): void => {
    try {
      work();
    } catch (error) {
      log.error({ event: "socket_fault", during: event, err: error });
      socket?.terminate();
    }
  };
  const writes = new WriteQueue<T>(options.maxBackpressureBytes, ({ accepted, socket }) => {
    guarded("lost", socket, () => {
      if (accepted !== undefined) events.lost(accepted);
    });
  });

  return {
    upgrade(response, request, context) {
      try {
        upgrade(response, request, context, options);
      } catch (error) {
        log.error({ event: "socket_fault", during: "upgrade", err: error });
      }
    },
    open(native) {
      const attached = native.getUserData();
      const socket = new NativeSocket(native, attached.peer, writes);
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
    pong(native) {
      const { accepted, socket } = native.getUserData();
      guarded("pong", socket, () => {
        if (accepted !== undefined) events.pong(accepted);
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
      const { accepted, place, socket } = native.getUserData();
      socket?.detach();
      place?.release();
      guarded("close", undefined, () => {
        if (accepted !== undefined) events.closed(accepted, code);
      });
    },
  } satisfies uWS.WebSocketBehavior<Attached<T>>;
}

/** Listens on the port. When that fails, closes the app and rejects with the cause. */
async function listen(
  app: uWS.TemplatedApp,
  { host, port }: Pick<SocketServerOptions<unknown>, "host" | "port">,
): Promise<uWS.us_listen_socket | undefined> {
  const listening = await new Promise<uWS.us_listen_socket | undefined>((resolve) => {
    // The declared types lack the overload with a host and options.
    const listenOn = app.listen.bind(app) as unknown as (
      host: string,
      port: number,
      listenOptions: number,
      done: (socket: uWS.us_listen_socket | false) => void,
    ) => void;
    listenOn(host, port, EXCLUSIVE_PORT, (socket) => resolve(socket || undefined));
  });
  if (listening) return listening;
  app.close();
  const cause = await listenError(host, port);
  throw new Error(`cannot listen on ${host}:${port}: ${cause}`, { cause });
}

function upgrade(
  response: uWS.HttpResponse,
  request: uWS.HttpRequest,
  context: uWS.us_socket_context_t,
  { admissions, log, proof, proxies, refusal, tls }: Omit<SocketServerOptions<unknown>, "events">,
): void {
  const headers = headersOf(request);
  const remote = remoteOf(response);
  const key = headers["sec-websocket-key"]?.[0] ?? "";
  const [header, ...others] = headers[PEER_HEADER] ?? [];
  const proven = header && others.length === 0 ? proof.read(header, key) : undefined;
  const fault = upgradeFault(headers);
  const offered = headers["sec-websocket-protocol"]?.join(",") ?? "";
  const known = offered.split(",").some((name) => name.trim() === SUBPROTOCOL);
  /** A gateway closes the connection by itself, and other devices need its place. */
  const giveBack = () => {
    if (proven !== undefined) admissions?.refused(remote);
  };
  const unavailable = refusal();
  if (unavailable !== undefined) {
    giveBack();
    response.writeStatus("503 Service Unavailable").end(unavailable, true);
  } else if (tls !== undefined && !hasCertificate(response)) {
    response.writeStatus("403 Forbidden").end("a certificate of the mesh is needed", true);
  } else if (fault !== undefined) {
    giveBack();
    refuse(response, fault);
  } else if (offered !== "" && !known) {
    giveBack();
    refuse(response, `the subprotocol is ${SUBPROTOCOL}`);
  } else {
    const peer = header === undefined ? deviceOf(headers, remote, proxies) : proven;
    if (peer === undefined) {
      // From a gateway, this means that this instance does not accept its secret.
      log.warn({ event: "peer_proof_refused", peer: remote });
      refuse(response, `${PEER_HEADER} is not valid: only a gateway may set it`);
      return;
    }
    const place = admissions?.upgrade(remote, header === undefined ? peer : undefined);
    if (admissions && !place) {
      const text = "too many connections from this address";
      return void response.writeStatus("429 Too Many Requests").end(text, true);
    }
    response.upgrade<Attached<unknown>>(
      { peer, place, accepted: undefined, socket: undefined },
      key,
      known ? SUBPROTOCOL : "",
      "",
      context,
    );
  }
}

/**
 * Whether the caller presented a certificate. The native server refuses those of another authority,
 * but accepts callers without any.
 */
function hasCertificate(response: uWS.HttpResponse): boolean {
  // The declared types lack this method. It returns a text in PEM.
  const { getX509Certificate } = response as unknown as { getX509Certificate(): string };
  return getX509Certificate.call(response) !== "";
}

function refuse(response: uWS.HttpResponse, text: string): void {
  response.writeStatus("400 Bad Request").end(text, true);
}

/** Address of the peer of a connection. */
function remoteOf(response: uWS.HttpResponse): string {
  return canonicalAddress(Buffer.from(response.getRemoteAddressAsText()).toString("latin1"));
}

/** Address of a device that connects without a gateway, directly or through a trusted proxy. */
function deviceOf(
  headers: RequestHeaders,
  remoteAddress: string,
  proxies: SocketServerOptions<unknown>["proxies"],
): string {
  return proxies?.clientAddress({ headers, socket: { remoteAddress } }) ?? remoteAddress;
}

/** All headers: `getHeader` returns only the first of several with one name. */
function headersOf(request: uWS.HttpRequest): RequestHeaders {
  const headers: Record<string, string[]> = Object.create(null);
  request.forEach((name, value) => {
    headers[name] ??= [];
    headers[name].push(value);
  });
  return headers;
}
