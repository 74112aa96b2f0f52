import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import { finished, type Readable } from "node:stream";
import type { ConnectError } from "@connectrpc/connect";
import type { UniversalServerRequest } from "@connectrpc/connect/protocol";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { createLineSampler } from "#platform/rpc/interceptors/line-sampler.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { BodyMemory, type Bound } from "./body-memory.ts";

/** Time-out for a whole request body, from its first read on, ms. The largest needs 17 KiB a second. */
const BODY_TIMEOUT_MS = 30_000;

/** Maximum bytes of unfinished bodies of one client's connection: eight of the largest. */
const CONNECTION_BYTES = 4 * 1024 * 1024;

/** Maximum bytes of unfinished bodies of all connections of a listener. */
const PROCESS_BYTES = 64 * 1024 * 1024;

/** Bytes in front of a message in a body of gRPC, gRPC-Web, or a stream of Connect. */
const ENVELOPE_BYTES = 5;

const RETRY_AFTER_MS = 1_000;

type Refusal = Bound | "late";

export interface RequestBodiesOptions {
  /** Whether the callers are our own services, which share a connection among many clients. */
  readonly mesh: boolean;
  readonly clock: Clock;
  readonly log: Log;
  /** Counts held bytes and refusals; absent in tests that read neither. */
  readonly metrics?: Metrics | undefined;
}

/** A request whose body is read when the library asks for it. */
export interface BodyOptions {
  /** The request of node:http or node:http2. */
  readonly source: IncomingMessage | Http2ServerRequest;
  readonly request: UniversalServerRequest;
  /** Maximum bytes of a message. The library refuses a larger one. */
  readonly maxBytes: number;
  /** Path of the method, for the log. */
  readonly path: string;
}

export type BoundedRequest = UniversalServerRequest & { body: AsyncIterable<Uint8Array> };

/** Reads the bodies of requests within bounds of time and memory. */
export interface RequestBodies {
  /**
   * The request with a body that arrives as one piece. Reading it throws OVERLOADED when it was
   * evicted, and DEADLINE_EXCEEDED when it did not arrive whole in time.
   */
  bounded(options: BodyOptions): BoundedRequest;
  /**
   * The request with a body that is read piece by piece, for a stream of requests: the caller waits
   * for an answer before it sends the next one. Reading it throws DEADLINE_EXCEEDED when it did not
   * end in time, and the reason of the signal when that aborts. It holds no memory beyond the window
   * of its protocol.
   */
  streamed(options: BodyOptions, signal: AbortSignal): BoundedRequest;
}

export function requestBodies(options: RequestBodiesOptions): RequestBodies {
  const { mesh, clock, log, metrics } = options;
  const held = metrics?.gauge(
    "lucky_request_body_bytes",
    "Bytes of request bodies that have not arrived whole.",
  );
  const refused = metrics?.counter(
    "lucky_request_bodies_refused_total",
    "Request bodies refused before they arrived whole, by cause: late (time-out), or the memory bound of the connection or of the process.",
    ["cause"],
  );
  const sampler = createLineSampler({ log, clock });
  const memory = new BodyMemory({
    connectionBytes: mesh ? PROCESS_BYTES : CONNECTION_BYTES,
    processBytes: PROCESS_BYTES,
    changed: (bytes) => held?.set(bytes),
  });

  function report(cause: Refusal, { path, request }: BodyOptions): void {
    refused?.inc({ cause });
    const level = cause === "process" ? "warn" : "info";
    if (!sampler.admit({ level, method: path, reason: cause })) return;
    const peer = request.contextValues?.get(peerAddress);
    log[level]({ event: "request_body_refused", path, cause, peer });
  }

  async function* read(body: BodyOptions): AsyncGenerator<Uint8Array> {
    yield await gather(body, { memory, clock, refused: (cause) => report(cause, body) });
  }

  return {
    bounded(body) {
      const { request, maxBytes } = body;
      // The library allocates the announced bytes before any of them has arrived, unless they are
      // too many.
      if (Number(request.header.get("content-length")) <= maxBytes) {
        request.header.delete("content-length");
      }
      return { ...request, body: read(body) };
    },
    streamed(body, signal) {
      const { request } = body;
      const refused = () => report("late", body);
      return { ...request, body: pieces(body, { signal, clock, refused }) };
    },
  };
}

/**
 * Reads a whole body into one buffer. The library would keep each chunk, which can pin the 64 KiB of
 * the network read that it arrived in, and would walk all chunks of a message for each new one.
 * Stops at the first byte that makes the body too large: the library refuses it then.
 */
function gather(
  { source, maxBytes }: BodyOptions,
  options: { memory: BodyMemory; clock: Clock; refused: (cause: Refusal) => void },
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let bytes = new Uint8Array(0);
    let length = 0;
    let open = true;

    function close(): void {
      open = false;
      timer.stop();
      held.release();
      source.off("data", take);
      stopWatching();
    }
    function refuse(cause: Refusal): void {
      close();
      options.refused(cause);
      reject(errorFor(cause));
    }
    function deliver(): void {
      close();
      resolve(bytes.subarray(0, length));
    }
    function take(chunk: Buffer): void {
      const needed = length + chunk.length;
      if (needed > bytes.length) {
        const size = Math.max(needed, 2 * bytes.length);
        held.hold(size);
        if (!open) return;
        const larger = new Uint8Array(size);
        larger.set(bytes);
        bytes = larger;
      }
      bytes.set(chunk, length);
      length = needed;
      if (length > maxBytes + ENVELOPE_BYTES) deliver();
    }

    const held = options.memory.open(connectionOf(source), refuse);
    const timer = options.clock.after(BODY_TIMEOUT_MS, () => refuse("late"));
    const stopWatching = finished(source as Readable, { writable: false }, (error) => {
      if (!open) return;
      if (!error) return deliver();
      close();
      reject(error);
    });
    source.on("data", take);
  });
}

/** The pieces of a body, as they arrive, until a time-out or until the signal aborts. */
async function* pieces(
  { request }: BodyOptions,
  options: { signal: AbortSignal; clock: Clock; refused: () => void },
): AsyncGenerator<Uint8Array> {
  const { signal, clock, refused } = options;
  const ended = new AbortController();
  // Not Promise.race with one promise of the end: that promise would keep every piece until it settles.
  let stopWaiting: ((reason: unknown) => void) | undefined;
  const abort = () => end(signal.reason);
  function end(reason: unknown): void {
    ended.abort(reason);
    stopWaiting?.(reason);
  }
  const timer = clock.after(BODY_TIMEOUT_MS, () => {
    refused();
    end(errorFor("late"));
  });
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  const arriving = (request.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  try {
    for (;;) {
      ended.signal.throwIfAborted();
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        stopWaiting = reject;
        arriving.next().then(resolve, reject);
      });
      if (next.done) return;
      yield next.value;
    }
  } finally {
    timer.stop();
    signal.removeEventListener("abort", abort);
  }
}

/** The connection of a request; the request itself once its connection has closed. */
function connectionOf(source: IncomingMessage | Http2ServerRequest): object {
  const connection = "stream" in source ? source.stream.session : source.socket;
  return connection ?? source;
}

function errorFor(cause: Refusal): ConnectError {
  const retry = { retryAfterMs: RETRY_AFTER_MS };
  switch (cause) {
    case "late": {
      const seconds = BODY_TIMEOUT_MS / 1_000;
      const text = `the request did not arrive whole within ${seconds} s`;
      return fail(ErrorReason.DEADLINE_EXCEEDED, text, retry);
    }
    case "connection":
      return fail(ErrorReason.OVERLOADED, "too many unfinished requests on a connection", retry);
    case "process":
      return fail(ErrorReason.OVERLOADED, "the server has too many unfinished requests", retry);
  }
}
