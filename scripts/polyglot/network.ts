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
 */
type Mode = "up" | "down" | "mute";

export interface Network {
  /** Address of the server through the proxy: "http://127.0.0.1:port". */
  readonly url: string;
  /** Address of the control: POST /up, /down, /mute or /cut. */
  readonly controlUrl: string;
  close(): Promise<void>;
}

export async function startNetwork(serverUrl: string): Promise<Network> {
  const { hostname, port } = new URL(serverUrl);
  let mode: Mode = "up";
  const webSockets = new Set<Socket>();
  const all = new Set<Socket>();
  const cut = () => {
    for (const socket of webSockets) socket.destroy();
    webSockets.clear();
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
  const control = createHttpServer((request, response) => {
    const wanted = (request.url ?? "").slice(1);
    const known = ["up", "down", "mute", "cut"].includes(wanted);
    if (known) mode = wanted === "cut" ? "up" : (wanted as Mode);
    if (wanted === "down" || wanted === "cut") cut();
    response.writeHead(known ? 200 : 404).end();
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
