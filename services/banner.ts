/** The properties of a started system that the banner shows. */
export interface Running {
  readonly url: string;
  readonly opsUrl: string;
  /** Whether the gateway serves the pages for client authors. */
  readonly docs: boolean;
  /** Whether tools can read the contract from the gateway. */
  readonly reflection: boolean;
  readonly dataDir: string;
  /** Whether this process started PostgreSQL. */
  readonly embedded: boolean;
  readonly startedInMs: number;
}

/** The text that `npm start` prints when all services are ready. */
export function banner(running: Running): string {
  const { url, opsUrl, docs, reflection, dataDir, embedded, startedInMs } = running;
  const socket = `${url.replace(/^http/, "ws")}/ws`;
  const method = "lucky.auth.v1.AuthService/GetPublicKey";
  const postgres = embedded ? "started by this process" : "given by the settings";
  const pages = docs ? `\n    Pages      ${url}/docs   methods to try, protocol, errors` : "";
  const list = reflection ? `npx buf curl --list-methods ${url}\n    ` : "";
  const schema = reflection ? "" : "--schema proto ";
  // Over TLS, client and server negotiate HTTP/2.
  const http2 = url.startsWith("https:") ? "" : "--http2-prior-knowledge ";
  return `
  Lucky is ready after ${(startedInMs / 1_000).toFixed(1)} s.

    Address    ${url}   gRPC, gRPC-Web, Connect, HTTP
               ${socket}   WebSocket, subprotocol lucky.v1
    Services   gateway, auth, server, connect: all in this process
    Database   PostgreSQL, ${postgres}
    Data       ${dataDir}
    Metrics    ${opsUrl}/metrics${pages}

  To try it, run this in another terminal, in this folder:

    ${list}npx buf curl ${schema}--protocol grpc ${http2}-d '{}' ${url}/${method}

  The same call as plain JSON over HTTP:

    curl -H 'content-type: application/json' -d '{}' ${url}/${method}

  See more with: npm run demo. Stop with Ctrl-C.
`;
}
