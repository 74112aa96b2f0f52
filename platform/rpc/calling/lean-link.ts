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
import { DEFAULT_DEADLINE_MS } from "#platform/rpc/deadline.ts";
import { decode, encode } from "#platform/rpc/lean/codecs.ts";
import { Frames, fieldsWith, headersOf, LEAN_PREFACE } from "#platform/rpc/lean/lean-frames.ts";

const PING_INTERVAL_MS = 10_000;
/** Silence after which a connection with calls in work, or a ping, is given up. */
const SILENCE_MS = 25_000;

/** Fields of LinkFrame and Call. */
const CALL = 2;
const CALL_REQUEST = 15;

export interface LeanLinkOptions {
  /** "http://host:port" of the service. */
  readonly address: string;
  readonly meshSecret: string;
  readonly clock: Clock;
}

/** The caller's end of a link. It connects when it is first used, and again after a break. */
export interface LeanLink extends Pick<Transport, "unary"> {
  /** Ends the connection, and with it the calls in work. Idempotent. */
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
  /** The service stops: calls in work are answered, new ones are not taken. */
  left: boolean;
  heardAtMs: number;
}

/**
 * Calls unary methods of one instance over a link. Fails like the transport of gRPC: what the service
 * answered comes as it is, a connection that failed is UNAVAILABLE with its cause.
 */
export function leanLink({ address, meshSecret, clock }: LeanLinkOptions): LeanLink {
  const { hostname, port } = new URL(address);
  const host = hostname.replace(/^\[|\]$/g, "");
  let current: Connection | undefined;
  let lastId = 0;

  function connected(): Connection {
    if (current && !current.left && !current.socket.destroyed) return current;
    const socket = connect({ host, port: Number(port), noDelay: true });
    socket.setKeepAlive(true, PING_INTERVAL_MS);
    const pending = new Map<number, Pending>();
    const frames = new Frames(socket, (kind) => {
      connection.heardAtMs = clock.elapsed();
      if (kind.case === "answer") pending.get(kind.value.callId)?.resolve(kind.value);
      else if (kind.case === "leave") connection.left = true;
    });
    frames.trust();
    const connection = { socket, frames, pending, left: false, heardAtMs: clock.elapsed() };
    const watch = clock.every(PING_INTERVAL_MS, () => {
      const silentMs = clock.elapsed() - connection.heardAtMs;
      if (silentMs >= SILENCE_MS) socket.destroy(broken("the service is silent"));
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
        cause ?? broken("the service hung up"),
      );
      for (const { reject } of pending.values()) reject(error);
    });
    socket.write(LEAN_PREFACE);
    frames.send({ case: "open", value: create(OpenSchema, { meshSecret }) });
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
        const giveUp = (error: ConnectError) => {
          end();
          frames.send({ case: "cancel", value: create(CancelSchema, { callId }) });
          reject(error);
        };
        const abort = () => giveUp(ConnectError.from(signal?.reason, Code.Canceled));
        const timer =
          timeoutMs > 0
            ? clock.after(timeoutMs, () =>
                giveUp(new ConnectError("the deadline is exceeded", Code.DeadlineExceeded)),
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

/** An error that tells a connection that was there from one that could not be made. */
function broken(text: string): Error {
  return Object.assign(new Error(text), { code: "ECONNRESET" });
}

function responseOf(outcome: Answer["outcome"]): Uint8Array {
  switch (outcome.case) {
    case "response":
      return outcome.value;
    case "error": {
      const { text, code, detail } = outcome.value;
      const details = detail ? [{ desc: ErrorDetailSchema, value: detail }] : [];
      throw new ConnectError(text, code, undefined, details);
    }
    case "refused":
      throw new ConnectError("the service stops (REFUSED_STREAM)", Code.Unavailable);
    default:
      throw new ConnectError("an answer without an outcome", Code.Internal);
  }
}
