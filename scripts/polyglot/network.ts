import { createServer as createHttpServer, type Server as HttpServer } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/**
 * The network between a runner and a server: a TCP proxy whose WebSockets a scenario breaks. Calls
 * over HTTP/2 and HTTP/1.1 always pass.
 *
 * - `up`: sockets pass.
 * - `down`: all sockets are cut, and new ones are refused.
 * - `mute`: sockets carry frames to the server, but its answers are lost.
 * - `cut`: all sockets are cut once, then as `up`.
 * - `later-frames`: every socket gets frames of a later server: an unknown kind, and a known one with an
 *   unknown field. Used while no other frame is under way.
 * - `unbroken`: fails when a socket has ended since `later-frames`.
 */
type Mode = "up" | "down" | "mute";

/** Two binary WebSocket messages: field 111 of ServerFrame, and a Heartbeat with a field 99. */
const LATER_FRAMES = Buffer.from("8206fa06030a010182054203980601", "hex");

export interface Network {
  /** Address of the server through the proxy: "http://127.0.0.1:port". */
  readonly url: string;
  /** Address of the control: POST /up, /down, /mute, /cut, /later-frames or /unbroken. */
  readonly controlUrl: string;
  close(): Promise<void>;
}

export async function startNetwork(serverUrl: string): Promise<Network> {
  const { hostname, port } = new URL(serverUrl);
  let mode: Mode = "up";
  const webSockets = new Set<Socket>();
  const all = new Set<Socket>();
  const enter = (wanted: Mode) => {
    mode = wanted;
    if (wanted !== "down") return true;
    for (const socket of webSockets) socket.destroy();
    webSockets.clear();
    return true;
  };
  const proxy = createServer((client) => {
    all.add(client);
    client.on("close", () => all.delete(client));
    client.on("error", () => {});
    client.once("data", (first: Buffer) => {
      // Only a WebSocket begins with GET: calls are POST, or the preface of HTTP/2.
      const isWebSocket = first.subarray(0, 4).toString("latin1") === "GET ";
      if (isWebSocket && mode === "down") return client.destroy();
      const server = connect(Number(port), hostname);
      server.on("error", () => client.destroy());
      server.on("close", () => client.destroy());
      client.on("close", () => server.destroy());
      if (isWebSocket) webSockets.add(client);
      client.on("close", () => webSockets.delete(client));
      server.on("data", (data: Buffer) => {
        if (isWebSocket && mode === "mute") return;
        if (client.write(data)) return;
        server.pause();
        client.once("drain", () => server.resume());
      });
      server.write(first);
      client.pipe(server, { end: false });
    });
  });
  let watched: readonly Socket[] = [];
  const actions: Readonly<Record<string, () => boolean>> = {
    up: () => enter("up"),
    down: () => enter("down"),
    mute: () => enter("mute"),
    cut: () => enter("down") && enter("up"),
    "later-frames"() {
      watched = [...webSockets];
      for (const socket of watched) socket.write(LATER_FRAMES);
      return watched.length > 0;
    },
    unbroken: () => watched.length > 0 && watched.every((socket) => webSockets.has(socket)),
  };
  const control = createHttpServer((request, response) => {
    const action = actions[(request.url ?? "").slice(1)];
    response.writeHead(action ? (action() ? 200 : 409) : 404).end();
  });
  const [proxyPort, controlPort] = await Promise.all([listening(proxy), listening(control)]);
  return {
    url: `http://127.0.0.1:${proxyPort}`,
    controlUrl: `http://127.0.0.1:${controlPort}`,
    async close() {
      for (const socket of all) socket.destroy();
      control.closeAllConnections();
      await Promise.all([closed(proxy), closed(control)]);
    },
  };
}

function listening(server: Server | HttpServer): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

function closed(server: Server | HttpServer): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
