import { request as requestHttp1 } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { buffer } from "node:stream/consumers";
import { Code, ConnectError } from "@connectrpc/connect";
import { endStreamFromJson, errorFromJsonBytes } from "@connectrpc/connect/protocol-connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { trailerParse } from "@connectrpc/connect/protocol-grpc-web";

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
  readonly trailer: Headers;
}

export interface Ask {
  readonly path: string;
  readonly type: string;
  readonly body: Uint8Array;
  readonly method?: string;
  readonly headers?: Record<string, string | undefined>;
}

export function overHttp1(port: number, ask: Ask): Promise<Answer> {
  const { path, method = "POST", type, headers, body } = ask;
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", path, method, agent: false };
    const sent = requestHttp1({ ...options, headers: { "content-type": type, ...headers } });
    sent.on("error", reject);
    sent.on("response", async (answer) => {
      const received = await buffer(answer);
      resolve({ status: answer.statusCode!, body: received, trailer: new Headers() });
    });
    sent.end(body);
  });
}

export async function overHttp2(port: number, ask: Ask): Promise<Answer> {
  const { path, method = "POST", type, headers, body } = ask;
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  const head = { ":method": method, ":path": path, "content-type": type, te: "trailers" };
  const stream = session.request({ ...head, ...headers }, { endStream: false });
  const trailer = new Headers();
  let status = 0;
  stream.on("response", (received) => {
    status = received[":status"]!;
  });
  stream.on("trailers", (received) => {
    for (const [name, value] of Object.entries(received)) trailer.set(name, String(value));
  });
  stream.end(body);
  const received = await buffer(stream);
  session.close();
  return { status, body: received, trailer };
}

export function enveloped(message: Uint8Array, flags = 0): Buffer {
  const head = Buffer.from([flags, 0, 0, 0, 0]);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

const fallback = new ConnectError("an answer without an error", Code.Unknown);

export function unaryError({ body }: Answer): ConnectError {
  return errorFromJsonBytes(body, undefined, fallback);
}

/** A way to call, with a codec and a protocol. */
export interface Door {
  readonly type: string;
  readonly send: (port: number, ask: Ask) => Promise<Answer>;
  readonly wrap: (message: Uint8Array) => Uint8Array;
  /** Reads the error of an answer. */
  readonly errorOf: (answer: Answer) => ConnectError | undefined;
  readonly json: boolean;
  /** A method whose answer is a stream, else one of unary calls. */
  readonly stream?: boolean;
}

export const bare = (message: Uint8Array) => message;
/** The last message of a body in envelopes. */
function lastMessage({ body }: Answer): Buffer {
  for (let at = 0; ; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    if (end === body.length) return body.subarray(at + 5);
    at = end;
  }
}

const inStream = (answer: Answer) => endStreamFromJson(lastMessage(answer)).error;
const inTrailer = ({ trailer }: Answer) => findTrailerError(trailer);
const inBody = (answer: Answer) => findTrailerError(trailerParse(lastMessage(answer)));

export const doors: Record<string, Door> = {
  "Connect in JSON": {
    ...{ type: "application/json", send: overHttp1, wrap: bare },
    ...{ errorOf: unaryError, json: true },
  },
  "Connect in proto": {
    ...{ type: "application/proto", send: overHttp2, wrap: bare },
    ...{ errorOf: unaryError, json: false },
  },
  "a stream of Connect in JSON": {
    ...{ type: "application/connect+json", send: overHttp1, wrap: enveloped },
    ...{ errorOf: inStream, json: true, stream: true },
  },
  "a stream of Connect in proto": {
    ...{ type: "application/connect+proto", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inStream, json: false, stream: true },
  },
  gRPC: {
    ...{ type: "application/grpc", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inTrailer, json: false },
  },
  "gRPC in JSON": {
    ...{ type: "application/grpc+json", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inTrailer, json: true },
  },
  "a stream of gRPC": {
    ...{ type: "application/grpc+proto", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inTrailer, json: false, stream: true },
  },
  "gRPC-Web over HTTP/1.1": {
    ...{ type: "application/grpc-web+proto", send: overHttp1, wrap: enveloped },
    ...{ errorOf: inBody, json: false },
  },
  "a stream of gRPC-Web over HTTP/2": {
    ...{ type: "application/grpc-web+json", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inBody, json: true, stream: true },
  },
};

/** Path of AuthService. */
export const AUTH = "/lucky.auth.v1.AuthService/";

const WATCH = { qrLoginId: "i".repeat(22), secret: "s".repeat(43), deviceId: "d1" };
const WATCH_PROTO = Buffer.from(`\x0a\x16${WATCH.qrLoginId}\x12\x2b${WATCH.secret}\x1a\x02d1`);

/** A call that the server answers. */
export function rightCall({ json, stream, type, wrap }: Door): Ask {
  const message = stream ? Buffer.from(JSON.stringify(WATCH)) : Buffer.from("{}");
  const proto = stream ? WATCH_PROTO : Buffer.alloc(0);
  const path = `${AUTH}${stream ? "WatchQrLogin" : "GetPublicKey"}`;
  return { path, type, body: wrap(json ? message : proto) };
}
