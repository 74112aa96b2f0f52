import { randomUUID } from "node:crypto";
import type { DescMethod } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ContextValues,
  type Interceptor,
  type StreamRequest,
  type UnaryRequest,
} from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import type { Clock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import { callerKey } from "#platform/identity/caller.ts";
import { callingService } from "#platform/identity/mesh-callers.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { MethodRules } from "#platform/rpc/rules.ts";
import {
  exemplarOf,
  type Span,
  spanKey,
  TRACE_HEADER,
  type Traces,
} from "#platform/tracing/traces.ts";
import { createLineSampler } from "./line-sampler.ts";
import { toPublicError } from "./public-error.ts";

/** Header with the request id, which identifies a call in the logs of every process on its path. */
export const REQUEST_ID_HEADER = "x-request-id";

const REQUEST_ID_PATTERN = /^[A-Za-z0-9._-]{1,64}$/;

/** Buckets from the duration of a local call to the default deadline of a remote one. */
const SECONDS_BUCKETS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
];

interface ObserveOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly rules: (method: DescMethod) => MethodRules;
  /** Absent: no call is traced. */
  readonly traces?: Traces | undefined;
}

/**
 * Writes one log line and two metrics per call, at its end, and sets the request id. The lines of
 * failed calls are sampled, because strangers can cause any number of them. Errors become
 * public: any error without a reason of the contract becomes a bland `internal`, and its cause is
 * only logged. A call of our own services continues its trace; other calls are sampled.
 */
export function observeInterceptor(options: ObserveOptions): Interceptor {
  const { log, metrics, clock, rules } = options;
  const calls = metrics.counter("lucky_rpc_requests_total", "RPCs served.", ["method", "code"]);
  const observeSeconds = metrics.tracedHistogram(
    "lucky_rpc_seconds",
    "Duration of RPCs, seconds.",
    SECONDS_BUCKETS,
    ["method"],
  );
  const traceOf = options.traces && callTracer(options.traces, rules);

  const sampler = createLineSampler({ log, clock });

  interface Ended {
    readonly method: DescMethod;
    readonly startedAt: number;
    readonly requestId: string;
    readonly values: ContextValues;
    readonly span: Span | undefined;
    readonly error?: ConnectError;
    readonly cause?: unknown;
  }

  function record({ method, startedAt, requestId, values, span, error, cause }: Ended): void {
    const ms = clock.elapsed() - startedAt;
    const { name, access } = rules(method);
    const code = error === undefined ? "ok" : codeName(error.code);
    calls.inc({ method: name, code });
    observeSeconds({ method: name }, ms / 1000, span && exemplarOf(span));
    span?.set({ "rpc.response.status_code": code });
    span?.end(error);
    const level = levelOf(error, access);
    if (!log.isLevelEnabled(level)) return;
    const reason = error === undefined ? undefined : ErrorReason[reasonOf(error)];
    if (level !== "debug" && !sampler.admit({ level, method: name, reason: reason ?? code }))
      return;
    const caller = values.get(callerKey);
    log[level]({
      event: "rpc",
      method: name,
      code,
      reason,
      ms: Math.round(ms),
      requestId,
      trace_id: span?.traceId,
      userId: caller.kind === "user" ? caller.userId : undefined,
      callingService: values.get(callingService),
      peer: values.get(peerAddress),
      text: error?.rawMessage,
      err: cause,
    });
  }

  return (next) => async (request) => {
    const { method, contextValues: values, signal } = request;
    const startedAt = clock.elapsed();
    const given = request.header.get(REQUEST_ID_HEADER) ?? "";
    const requestId = REQUEST_ID_PATTERN.test(given) ? given : randomUUID();
    request.header.set(REQUEST_ID_HEADER, requestId);
    const span = traceOf?.(request);
    if (span !== undefined) values.set(spanKey, span);
    const call = { method, startedAt, requestId, values, span };

    /** Records a failed call. Returns its public error. */
    function failed(thrown: unknown): ConnectError {
      const error = toPublicError(thrown, signal);
      error.metadata.set(REQUEST_ID_HEADER, requestId);
      const cause = thrown instanceof ConnectError ? thrown.cause : thrown;
      record({ ...call, error, cause });
      return error;
    }

    async function* watched<T>(messages: AsyncIterable<T>): AsyncGenerator<T> {
      let ended = false;
      try {
        for await (const message of messages) yield message;
        ended = true;
        record(call);
      } catch (thrown) {
        ended = true;
        throw failed(thrown);
      } finally {
        // The caller stopped reading.
        if (!ended) failed(new ConnectError("the caller stopped reading", Code.Canceled));
      }
    }

    try {
      const response = await next(request);
      response.header.set(REQUEST_ID_HEADER, requestId);
      if (response.stream) return { ...response, message: watched(response.message) };
      record(call);
      return response;
    } catch (thrown) {
      throw failed(thrown);
    }
  };
}

/** Starts the span of a call; undefined when it is not traced. */
function callTracer(traces: Traces, rules: (method: DescMethod) => MethodRules) {
  return ({ method, header, contextValues }: UnaryRequest | StreamRequest): Span | undefined => {
    const given = header.get(TRACE_HEADER) ?? "";
    const isInternal = contextValues.get(callingService) !== undefined;
    if (isInternal && given === "") return undefined;
    const parent = isInternal ? undefined : traces.sample(given);
    if (!isInternal && parent === undefined) return undefined;
    const { name } = rules(method);
    const attributes = { "rpc.system.name": "connectrpc", "rpc.method": name };
    const options = { name, kind: "server" as const, attributes };
    return parent === undefined ? traces.continue(given, options) : traces.start(parent, options);
  };
}

/**
 * Log level: error for a fault of the server, warn for an unavailable part, info for a refused
 * call.
 */
function levelOf(
  error: ConnectError | undefined,
  access: Access,
): "error" | "warn" | "info" | "debug" {
  if (error === undefined) return "debug";
  switch (error.code) {
    case Code.Internal:
    case Code.Unknown:
    case Code.DataLoss:
      return "error";
    case Code.Unavailable:
    case Code.DeadlineExceeded:
      return "warn";
    case Code.Canceled:
      return "debug";
    default:
      return access === Access.INTERNAL ? "warn" : "info";
  }
}

/** Connect's name of a code: InvalidArgument → invalid_argument. */
function codeName(code: Code): string {
  return Code[code].replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
}
