import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import type { Attack } from "./attack.ts";
import { requireNoInternal, within } from "./finding.ts";
import { badRequest, callHeaders, envelope } from "./requests.ts";

const CALLS = 4;

/** Calls over gRPC: well-formed HTTP/2, bad contents. */
export const grpcCalls: Attack = {
  name: "gRPC",
  inputs: CALLS,
  async run(random, { target, token, userId }) {
    const socket = await target.dial(target.port);
    const session = connect(target.url, { createConnection: () => socket });
    session.on("error", () => {});
    const answers = Array.from({ length: CALLS }, async () => {
      const { name, bytes } = badRequest(random, "proto", userId);
      const headers = {
        ":method": random.once(8) ? random.pick(["GET", "PUT", "OPTIONS"]) : "POST",
        ":path": `/${name}`,
        te: "trailers",
        ...callHeaders(random, token),
        "content-type": random.pick([
          "application/grpc",
          "application/grpc+proto",
          "application/grpc+json",
          "application/grpc-web",
        ]),
      };
      const messages = Array.from({ length: random.once(8) ? 3 : 1 }, () =>
        envelope(random, bytes),
      );
      const input = `gRPC ${name}, ${JSON.stringify(headers)}, ${bytes.toString("base64")}`;
      const answer = within(answerTo(session, headers, Buffer.concat(messages)), input);
      requireNoInternal(await answer, input);
    });
    try {
      await Promise.all(answers);
    } finally {
      session.destroy();
    }
  },
};

/** Headers, body and trailers of the answer, one header a line; of a stream, up to its first part. */
function answerTo(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body: Buffer,
): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const add = (given: object) => {
      for (const [name, value] of Object.entries(given)) text += `${name}: ${value}\r\n`;
    };
    if (session.destroyed) return resolve("the server closed the connection");
    const stream: ClientHttp2Stream = session.request(headers);
    stream.on("error", () => {});
    stream.on("response", add).on("trailers", add);
    stream.on("data", (chunk) => {
      text += chunk;
    });
    stream.on("close", () => resolve(text));
    stream.end(body);
  });
}
