import { connect, type Socket } from "node:net";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport, type UnaryResponse } from "@connectrpc/connect";
import { ErrorDetailSchema } from "#gen/lucky/error/v1/error_pb.js";
import {
  type Answer,
  CancelSchema,
  OpenSchema,
  PingSchema,
} from "#gen/lucky/internal/link/v1/link_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import { DEFAULT_DEADLINE_MS } from "#platform/rpc/deadline.ts";
import { decode, encode } from "#platform/rpc/lean/codecs.ts";
import { Frames, fieldsWith, headersOf, LEAN_PREFACE } from "#platform/rpc/lean/lean-frames.ts";
import { IMPAIRED } from "./transport-failure.ts";

const PING_INTERVAL_MS = 10_000;
/**
 * Time-out of a silent connection with calls in flight or an unanswered ping, ms; then it is
 * closed.
 */
const SILENCE_TIMEOUT_MS = 25_000;

/** Field numbers: CALL in LinkFrame, CALL_REQUEST in Call. */
const CALL = 2;
const CALL_REQUEST = 15;

export interface LeanLinkOptions {
  /** Name of the service: "auth", "server" … */
  readonly service: string;
  /** "http://host:port" of the instance. */
  readonly address: string;
  /** Secret of the calling service. */
  readonly secret: string;
  /** TLS of the mesh; plain text when absent. */
  readonly tls?: MeshTls | undefined;
  readonly clock: Clock;
}

/** The caller's end of a link. It connects at the first call, and reconnects after a break. */
export interface LeanLink extends Pick<Transport, "unary"> {
  /** Ends the connection, and with it the calls in flight. Idempotent. */
  close(): void;
}

interface Pending {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

interface Connection {
  readonly socket: Socket;
  readonly frames: Frames;
  readonly pending: Map<number, Pending>;
  /** The service stops: it answers calls in flight and takes no new ones. */
  leaving: boolean;
  lastFrameAtMs: number;
}

/**
 * Calls unary methods of one instance over a link. It fails like the transport of gRPC: errors of the
 * service are returned unchanged, a connection that failed is UNAVAILABLE with its cause.
 */
export function leanLink({ service, address, secret, tls, clock }: LeanLinkOptions): LeanLink {
  const { hostname, port } = new URL(address);
  const to = { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port), noDelay: true };
  let current: Connection | undefined;
  let lastId = 0;

  function connected(): Connection {
    if (current && !current.leaving && !current.socket.destroyed) return current;
    const socket = tls ? tls.connect(service, to) : connect(to);
    socket.setKeepAlive(true, PING_INTERVAL_MS);
    const pending = new Map<number, Pending>();
    const frames = new Frames(socket, (kind) => {
      connection.lastFrameAtMs = clock.elapsed();
      if (kind.case === "answer") pending.get(kind.value.callId)?.resolve(kind.value);
      else if (kind.case === "leave") connection.leaving = true;
    });
    frames.trust();
    const connection = { socket, frames, pending, leaving: false, lastFrameAtMs: clock.elapsed() };
    const watch = clock.every(PING_INTERVAL_MS, () => {
      const silentMs = clock.elapsed() - connection.lastFrameAtMs;
      if (silentMs >= SILENCE_TIMEOUT_MS) socket.destroy(broken("the service is silent"));
      else if (silentMs >= PING_INTERVAL_MS) {
        frames.send({ case: "ping", value: create(PingSchema) });
      }
    });
    let cause: Error | undefined;
    socket.on("error", (error) => {
      cause = error;
    });
    socket.once("close", () => {
      watch.stop();
      if (current === connection) current = undefined;
      const error = new ConnectError(
        "the connection broke",
        Code.Unavailable,
        undefined,
        undefined,
        cause ?? broken("the service closed the connection"),
      );
      for (const { reject } of pending.values()) reject(error);
    });
    socket.write(LEAN_PREFACE);
    frames.send({ case: "open", value: create(OpenSchema, { secret }) });
    current = connection;
    return connection;
  }

  return {
    unary(method, signal, timeoutMs = DEFAULT_DEADLINE_MS, header, input) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(ConnectError.from(signal.reason, Code.Canceled));
        const { frames, pending, socket } = connected();
        lastId = (lastId + 1) >>> 0;
        const callId = lastId;
        const abandon = (error: ConnectError) => {
          end();
          frames.send({ case: "cancel", value: create(CancelSchema, { callId }) });
          reject(error);
        };
        const abort = () => abandon(ConnectError.from(signal?.reason, Code.Canceled));
        const timer =
          timeoutMs > 0
            ? clock.after(timeoutMs, () =>
                abandon(new ConnectError("the deadline is exceeded", Code.DeadlineExceeded)),
              )
            : undefined;
        const end = () => {
          pending.delete(callId);
          timer?.stop();
          signal?.removeEventListener("abort", abort);
          if (pending.size === 0) socket.unref();
        };
        signal?.addEventListener("abort", abort, { once: true });
        socket.ref();
        pending.set(callId, {
          resolve(answer) {
            end();
            try {
              const { headers, outcome } = answer;
              const response = responseOf(outcome);
              resolve({
                stream: false,
                service: method.parent,
                method,
                header: headersOf(headers),
                trailer: new Headers(),
                message: decode(method.output, response),
              } as UnaryResponse<typeof method.input, typeof method.output>);
            } catch (error) {
              reject(error);
            }
          },
          reject(error) {
            end();
            reject(error);
          },
        });
        const fields = fieldsWith(callId, new Headers(header))
          .string(2, `${method.parent.typeName}/${method.name}`)
          .varint(3, Math.max(0, timeoutMs));
        const request = encode(method.input, create(method.input, input));
        frames.sendWith(CALL, fields, CALL_REQUEST, request);
      });
    },
    close() {
      current?.socket.destroy();
    },
  };
}

/**
 * An error of an open connection. Its code lets `classifyFailure` distinguish it from a failed
 * connect.
 */
function broken(text: string): Error {
  return Object.assign(new Error(text), { code: "ECONNRESET" });
}

function responseOf(outcome: Answer["outcome"]): Uint8Array {
  switch (outcome.case) {
    case "response":
      return outcome.value;
    case "error": {
      const { text, code, detail, impaired } = outcome.value;
      const details = detail ? [{ desc: ErrorDetailSchema, value: detail }] : [];
      throw new ConnectError(text, code, undefined, details, impaired ? IMPAIRED : undefined);
    }
    case "refused":
      throw new ConnectError("the service stops (REFUSED_STREAM)", Code.Unavailable);
    default:
      throw new ConnectError("an answer without an outcome", Code.Internal);
  }
}
