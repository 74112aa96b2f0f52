import { request } from "node:http";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import type { Attack } from "./attack.ts";
import { Finding, requireNoInternal, within } from "./finding.ts";
import type { Random } from "./random.ts";
import { badRequest, callHeaders, envelope, type Format } from "./requests.ts";

const CALLS = 4;

/** Content types: format of the message, and whether it is in an envelope. */
const TYPES: readonly (readonly [type: string, format: Format, enveloped: boolean])[] = [
  ["application/json", "json", false],
  ["application/proto", "proto", false],
  ["application/connect+json", "json", true],
  ["application/connect+proto", "proto", true],
  ["application/grpc-web+proto", "proto", true],
  ["application/grpc-web+json", "json", true],
  ["application/json; charset=utf-16", "json", false],
  ["text/html", "json", false],
];

/** Calls over Connect, in JSON and proto, and over gRPC-Web: well-formed HTTP, bad contents. */
export const connectCalls: Attack = {
  name: "Connect and gRPC-Web",
  inputs: CALLS,
  async run(random, { target, token, userId }) {
    for (let i = 0; i < CALLS; i++) {
      const [type, format, enveloped] = random.pick(TYPES);
      const { name, bytes } = badRequest(random, format, userId);
      const message = enveloped ? envelope(random, bytes) : bytes;
      const headers = { ...callHeaders(random, token), "content-type": type };
      const body = compressed(random, message, headers);
      const query = random.once(8)
        ? `?message=${encodeURIComponent(bytes.toString("latin1"))}`
        : "";
      const method = random.once(8) ? random.pick(["GET", "PUT", "OPTIONS", "HEAD"]) : "POST";
      const input = `${method} ${name} as ${type}, ${JSON.stringify(headers)}, ${bytes.toString("base64")}`;
      const call = { port: target.port, method, path: `/${name}${query}`, headers };
      requireNoInternal(await within(answerTo(call, body), input), input);
    }
  },
};

/** Compresses the body as its headers say, in most cases. */
function compressed(random: Random, body: Buffer, headers: Record<string, string>): Buffer {
  const encoding = headers["content-encoding"];
  if (random.once(4)) return body;
  if (encoding === "gzip") return gzipSync(body, { level: 1 });
  if (encoding !== "br") return body;
  return brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } });
}

interface Call {
  readonly port: number;
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
}

/** Status line and body of the answer; of a stream, its first part. */
function answerTo({ port, ...call }: Call, body: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const sending = request({ host: "127.0.0.1", port, agent: false, ...call }, (response) => {
      let text = `HTTP/1.1 ${response.statusCode}\r\n`;
      const end = () => {
        resolve(text);
        sending.destroy();
      };
      response.on("data", (chunk) => {
        text += chunk;
        if (response.headers["content-type"]?.includes("stream")) end();
      });
      response.on("end", end).on("error", end);
    });
    sending.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") {
        reject(new Finding(`the server does not accept connections: ${error.message}`));
      } else resolve(`the server closed the connection: ${error.message}`);
    });
    sending.end(body);
  });
}
