/** What a person who started everything wants to know. */
export interface Running {
  readonly url: string;
  readonly opsUrl: string;
  readonly dataDir: string;
  /** Whether PostgreSQL was brought along. */
  readonly embedded: boolean;
  readonly startedInMs: number;
}

/** The text that `npm start` prints when everything is ready. */
export function banner({ url, opsUrl, dataDir, embedded, startedInMs }: Running): string {
  const socket = `${url.replace(/^http/, "ws")}/ws`;
  const method = "lucky.auth.v1.AuthService/GetPublicKey";
  return `
  Lucky is ready after ${(startedInMs / 1_000).toFixed(1)} s.

    Address    ${url}   gRPC, gRPC-Web, Connect, HTTP
               ${socket}   WebSocket, subprotocol lucky.v1
    Running    gateway, auth, server, connect, PostgreSQL${embedded ? "" : " (yours)"}: all in this process${embedded ? "'s care" : ""}
    Data       ${dataDir}
    Metrics    ${opsUrl}/metrics

  Try it, in another terminal, from this folder:

    npx buf curl --schema proto --protocol grpc --http2-prior-knowledge -d '{}' ${url}/${method}

  The same as plain JSON over HTTP:

    curl -H 'content-type: application/json' -d '{}' ${url}/${method}

  Then: npm run demo. Stop with Ctrl-C.
`;
}
