import { createServer } from "node:net";

/**
 * Finds out why a port cannot be listened on: uWebSockets.js does not report the cause, but Node's
 * own server does.
 */
export function listenError(host: string, port: number): Promise<Error> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", resolve);
    server.listen({ host, port, exclusive: true }, () => {
      server.close(() => resolve(new Error("the cause is unknown")));
    });
  });
}
