import { timingSafeEqual } from "node:crypto";
import { connect, type Socket } from "node:net";
import {
  create,
  type DescMethod,
  type DescMethodUnary,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type Interceptor,
  type Transport,
  type UnaryResponse,
} from "@connectrpc/connect";
import { ErrorDetailSchema, ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import {
  type Answer,
  AnswerSchema,
  type Call,
  CancelSchema,
  type Header,
  LeaveSchema,
  LinkErrorSchema,
  type LinkFrame,
  LinkFrameSchema,
  OpenSchema,
  PingSchema,
  RefusedSchema,
} from "../../gen/lucky/internal/link/v1/link_pb.js";
import type { Clock } from "../clock.ts";
import { detailOf, fail } from "../errors.ts";
import type { Log } from "../log.ts";
import { varintSize, WireWriter } from "../wire.ts";
import { defaultDeadlineMs } from "./deadline.ts";
import { localTransport } from "./local.ts";
import type { Served } from "./served.ts";

// A call by gRPC over node:http2 costs more than a millisecond of CPU on both sides together,
// whatever it carries; over this link about a tenth of that (bench `messages`, mesh, window 1).

/** What a caller writes first. No request of HTTP begins like it. */
export const leanPreface = Buffer.from("LUCKY-LINK/1\r\n");

const LENGTH_BYTES = 4;
/** The largest frame either side takes, 64 MiB: a batch has 1 MiB. */
const maxFrameBytes = 64 * 1024 * 1024;
const pingIntervalMs = 10_000;
/** Silence after which a connection with calls in work, or a ping, is given up. */
const silenceMs = 25_000;

/** Fields of LinkFrame, Call and Answer. */
const CALL = 2;
const ANSWER = 4;
const CALL_REQUEST = 15;
const ANSWER_RESPONSE = 15;
const ANSWER_ERROR = 5;
const HEADERS = 4;

type Kind = LinkFrame["kind"];

/** Frames over a socket, either way. */
class Frames {
  readonly #socket: Socket;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #needed = LENGTH_BYTES;

  constructor(socket: Socket, take: (kind: Kind) => void) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      try {
        this.#read(chunk, take);
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
  }

  /** Sends a small frame. */
  send(kind: Kind): void {
    const frame = toBinary(LinkFrameSchema, create(LinkFrameSchema, { kind }));
    const head = Buffer.allocUnsafe(LENGTH_BYTES);
    head.writeUInt32BE(frame.length);
    this.#write(head, frame);
  }

  /** Sends a frame whose last field is `body`: it is not copied into another buffer. */
  sendWith(kind: number, fields: WireWriter, bodyField: number, body: Uint8Array): void {
    fields.header(bodyField, body.length);
    const inner = fields.length + body.length;
    const head = Buffer.allocUnsafe(LENGTH_BYTES);
    head.writeUInt32BE(1 + varintSize(inner) + inner);
    const tag = new WireWriter(16).header(kind, inner).finish();
    this.#write(Buffer.concat([head, tag, fields.finish()]), body);
  }

  #write(head: Uint8Array, rest: Uint8Array): void {
    if (!this.#socket.writable) return;
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(rest);
    this.#socket.uncork();
  }

  #read(chunk: Buffer, take: (kind: Kind) => void): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#needed) return;
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    let at = 0;
    for (;;) {
      this.#needed = LENGTH_BYTES;
      if (bytes.length - at < LENGTH_BYTES) break;
      const length = bytes.readUInt32BE(at);
      if (length > maxFrameBytes) throw new Error(`a frame of ${length} bytes`);
      this.#needed = LENGTH_BYTES + length;
      if (bytes.length - at < this.#needed) break;
      const end = at + this.#needed;
      take(fromBinary(LinkFrameSchema, bytes.subarray(at + LENGTH_BYTES, end)).kind);
      at = end;
    }
    this.#chunks = at === bytes.length ? [] : [bytes.subarray(at)];
    this.#bytes = bytes.length - at;
  }
}

function headersOf(headers: readonly Header[]): Headers {
  return new Headers(headers.map(({ name, value }): [string, string] => [name, value]));
}

/** Fields of a call or an answer: its id, then the headers. */
function fieldsWith(callId: number, headers: Headers): WireWriter {
  const fields = new WireWriter(64).varint(1, callId);
  headers.forEach((value, name) => {
    const header = new WireWriter(name.length + value.length * 3 + 16).string(1, name);
    fields.bytes(HEADERS, header.string(2, value).finish());
  });
  return fields;
}

export interface LeanServerOptions {
  readonly served: readonly Served[];
  readonly interceptors: readonly Interceptor[];
  readonly meshSecret: string;
  readonly log: Log;
}

/** The service's end of the links that callers open. */
export interface LeanServer {
  /** Takes a connection whose first bytes are the preface. */
  take(socket: Socket): void;
  /** Tells callers that it stops; connections end with their last call. */
  leave(): void;
}

/** Serves the unary methods of services over links, to whoever knows the secret of the mesh. */
export function leanServer(options: LeanServerOptions): LeanServer {
  const { served, interceptors, meshSecret, log } = options;
  const secret = Buffer.from(meshSecret);
  const transport = localTransport(served, interceptors, { meshSecret });
  const methods = new Map<string, DescMethod>();
  for (const { service } of served) {
    for (const method of service.methods) {
      methods.set(`${service.typeName}/${method.name}`, method);
    }
  }
  const links = new Set<() => void>();
  let leaving = false;

  async function carryOut(
    { method: name, timeoutMs, headers, request }: Call,
    signal: AbortSignal,
  ): Promise<{ header: Headers; response: Uint8Array }> {
    const method = methods.get(name);
    if (method?.methodKind !== "unary") {
      throw fail(ErrorReason.METHOD_NOT_FOUND, `${name} is not served here`);
    }
    const { header, message } = await transport.unary(
      method as DescMethodUnary,
      signal,
      timeoutMs === 0 ? undefined : timeoutMs,
      headersOf(headers),
      fromBinary(method.input, request),
    );
    return { header, response: toBinary(method.output, message) };
  }

  function take(socket: Socket): void {
    const calls = new Map<number, AbortController>();
    let opened = false;
    const leave = () => {
      frames.send({ case: "leave", value: create(LeaveSchema) });
      if (calls.size === 0) socket.end();
    };

    async function answer(call: Call): Promise<void> {
      const { callId } = call;
      const controller = new AbortController();
      calls.set(callId, controller);
      try {
        const { header, response } = await carryOut(call, controller.signal);
        if (!calls.has(callId)) return;
        frames.sendWith(ANSWER, fieldsWith(callId, header), ANSWER_RESPONSE, response);
      } catch (thrown) {
        if (!calls.has(callId)) return;
        const error = encodeError(ConnectError.from(thrown));
        frames.sendWith(ANSWER, fieldsWith(callId, new Headers()), ANSWER_ERROR, error);
      } finally {
        if (calls.get(callId) === controller) calls.delete(callId);
        if (leaving && calls.size === 0) socket.end();
      }
    }

    function cancel(callId: number): void {
      const controller = calls.get(callId);
      calls.delete(callId);
      controller?.abort(new ConnectError("the caller does not wait any more", Code.Canceled));
    }

    const frames = new Frames(socket, (kind) => {
      if (!opened) {
        const given = Buffer.from(kind.case === "open" ? kind.value.meshSecret : "");
        if (given.length !== secret.length || !timingSafeEqual(given, secret)) {
          throw new Error("a link without the secret of the mesh");
        }
        opened = true;
        if (leaving) leave();
        return;
      }
      switch (kind.case) {
        case "call":
          if (leaving) frames.send({ case: "answer", value: refused(kind.value.callId) });
          else void answer(kind.value);
          break;
        case "cancel":
          cancel(kind.value.callId);
          break;
        case "ping":
          frames.send(kind);
          break;
      }
    });
    links.add(leave);
    socket.on("error", (err) => log.debug({ event: "link_failed", err }));
    socket.once("close", () => {
      links.delete(leave);
      for (const callId of calls.keys()) cancel(callId);
    });
  }

  return {
    take,
    leave() {
      leaving = true;
      for (const leave of links) leave();
    },
  };
}

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
    socket.setKeepAlive(true, pingIntervalMs);
    const pending = new Map<number, Pending>();
    const frames = new Frames(socket, (kind) => {
      connection.heardAtMs = clock.now();
      if (kind.case === "answer") pending.get(kind.value.callId)?.resolve(kind.value);
      else if (kind.case === "leave") connection.left = true;
    });
    const connection = { socket, frames, pending, left: false, heardAtMs: clock.now() };
    const watch = clock.every(pingIntervalMs, () => {
      const silentMs = clock.now() - connection.heardAtMs;
      if (silentMs >= silenceMs) socket.destroy(broken("the service is silent"));
      else if (silentMs >= pingIntervalMs) {
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
    socket.write(leanPreface);
    frames.send({ case: "open", value: create(OpenSchema, { meshSecret }) });
    current = connection;
    return connection;
  }

  return {
    unary(method, signal, timeoutMs = defaultDeadlineMs, header, input) {
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
                message: fromBinary(method.output, response),
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
        const request = toBinary(method.input, create(method.input, input));
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

function encodeError(error: ConnectError): Uint8Array {
  const detail = detailOf(error);
  const { code, rawMessage: text } = error;
  return toBinary(
    LinkErrorSchema,
    create(LinkErrorSchema, { code, text, ...(detail && { detail }) }),
  );
}

function refused(callId: number): Answer {
  const outcome = { case: "refused" as const, value: create(RefusedSchema) };
  return create(AnswerSchema, { callId, outcome });
}
