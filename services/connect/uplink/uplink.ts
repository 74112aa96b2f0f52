import type { Client } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { IngressService, Uplink } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { type Span, type Traces, traceHeaders } from "#platform/tracing/traces.ts";
import {
  RESULTS_PER_FRAME,
  readClientMessageId,
  readTarget,
  refusedOutcome,
  refusedResult,
  type SendTarget,
  sendResultsFrame,
} from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import { hashOf } from "./conversation-hash.ts";
import { isPermanent } from "./permanent-errors.ts";
import { RETRY_AFTER_MS } from "./retry-after.ts";
import { type Route, Routes } from "./routes.ts";
import { TracedSends } from "./traced-sends.ts";
import { WaitBound } from "./wait-bound.ts";

export interface UplinkOptions {
  ingress: Pick<Client<typeof IngressService>, "appendBatch">;
  registry: Pick<Registry, "instances">;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  /** Absent: no send is traced. */
  traces?: Traces | undefined;
  config: {
    readonly maxSendsInFlight: number;
    readonly uplinkLanes: number;
    readonly uplinkBatchSends: number;
    readonly uplinkBatchBytes: number;
    readonly uplinkLingerMs: number;
    readonly uplinkQueueSends: number;
    readonly uplinkWaitMs: number;
    readonly uplinkQueueBytes: number;
    readonly uplinkRetryMs: number;
    readonly callTimeoutMs: number;
  };
}

/**
 * A send in flight: the message for server and the session that waits for the result, in one
 * object.
 */
interface PendingSend extends Uplink {
  readonly session: Session;
  /** Hash of the conversation. */
  readonly hash: number;
  /** When its frame arrived, elapsed ms. */
  readonly takenAtMs: number;
}

/**
 * Exponential back-off between retries of a failed batch, ms: the first, which is doubled for each
 * further retry, and the longest.
 */
const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1_000;

/**
 * Sends batches of sends to server. Sends that arrive while a batch is in flight join the next one.
 * Each target is in at most one batch in flight, so a session's sends to it keep their order, and
 * it stays on one server until the server leaves the registry or fails. Queues are bounded by sends
 * and bytes; a send beyond a bound is refused with OVERLOADED.
 */
export class Uplinks {
  readonly #options: UplinkOptions;
  readonly #routes: Routes<PendingSend>;
  readonly #countBatch: (sends: number) => void;
  /** Sends and bytes queued or in flight. */
  readonly #queue = { sends: 0, bytes: 0 };
  readonly #bound: WaitBound;
  readonly #traced: TracedSends<PendingSend>;
  /** Results of refused sends, flushed at the end of this turn of the event loop. */
  #refused = new Map<Session, Uint8Array[]>();
  readonly #stop = new AbortController();

  constructor(options: UplinkOptions) {
    const { config } = options;
    this.#options = options;
    this.#traced = new TracedSends(options.traces);
    const batchSends = options.metrics.histogram(
      "lucky_uplink_batch_sends",
      "Sends in one batch to server.",
      [1, 4, 16, 64, 256, 512],
    );
    this.#bound = new WaitBound(config.uplinkQueueSends, config.uplinkWaitMs);
    this.#countBatch = (sends) => batchSends.observe(sends);
    this.#routes = new Routes<PendingSend>({
      ...options,
      hash: ({ hash }) => hash,
      batches: {
        key: ({ hash }) => hash,
        bytes: ({ send: { length } }) => length,
        batchCount: config.uplinkBatchSends,
        batchBytes: config.uplinkBatchBytes,
        // `take` bounds the queues over all routes together.
        queueCount: Number.MAX_SAFE_INTEGER,
        queueBytes: Number.MAX_SAFE_INTEGER,
        inFlight: config.uplinkLanes,
        lingerMs: config.uplinkLingerMs,
      },
      send: (batch, route) => this.#sendBatch(batch, route),
    });
  }

  /** Whether no send is queued or in flight. */
  get idle(): boolean {
    return this.#queue.sends === 0;
  }

  /**
   * Queues an encoded SendRequest; the bytes are copied. `traceparent` is the context of the device.
   * Never throws: every send gets a result.
   */
  take(session: Session, senderId: string, send: Uint8Array, traceparent = ""): void {
    const { config, traces } = this.#options;
    const queue = this.#queue;
    if (session.sendsInFlight >= config.maxSendsInFlight) {
      this.#refuse(session, send, TOO_MANY_IN_FLIGHT);
    } else if (
      queue.sends >= this.#bound.sends ||
      queue.bytes + send.length > config.uplinkQueueBytes
    ) {
      this.#refuse(session, send, QUEUE_FULL);
    } else {
      let target: SendTarget | undefined;
      try {
        target = readTarget(send);
      } catch {
        target = undefined;
      }
      if (!target) {
        this.#refuse(session, send, NO_TARGET);
        return;
      }
      session.sendsInFlight += 1;
      queue.sends += 1;
      queue.bytes += send.length;
      const pending: PendingSend = {
        session,
        // Take the arrival of the frame as the current time: it has just arrived.
        takenAtMs: session.lastFrameAtMs,
        hash: hashOf(senderId, target),
        $typeName: "lucky.internal.ingress.v1.Uplink",
        senderId,
        sessionId: session.id,
        send: Buffer.from(send),
      };
      if (traces !== undefined) this.#traced.begin(pending, traceparent);
      this.#routes.push(pending);
    }
  }

  /** Abandons the sends in flight. Idempotent. */
  close(): void {
    this.#stop.abort();
    this.#routes.close();
  }

  #refuse(session: Session, send: Uint8Array, outcome: Uint8Array): void {
    const result = refusedResult(readClientMessageId(send), outcome);
    const results = this.#refused.get(session);
    if (results) {
      results.push(result);
      return;
    }
    this.#refused.set(session, [result]);
    if (this.#refused.size > 1) return;
    setImmediate(() => {
      const refused = this.#refused;
      this.#refused = new Map();
      sendToOpen(refused);
    });
  }

  async #sendBatch(batch: readonly PendingSend[], route: Route): Promise<void> {
    const waitedMs = this.#options.clock.elapsed() - batch[0]!.takenAtMs;
    this.#bound.observe(waitedMs, this.#queue.sends);
    const span = this.#traced.batch(batch);
    const results = await this.#append(batch, route, span);
    span?.end(results ? undefined : new Error("no attempt succeeded"));
    this.#sendResults(batch, results);
    const failed = results ? batch.filter((_, at) => results[at]!.length === 0) : batch;
    if (failed.length === 0) return;
    // The devices retry failed sends: later sends of their sessions must not overtake the retry.
    const sessions = new Set(failed.map(({ session }) => session));
    this.#sendResults(
      this.#routes.remove(({ session }) => sessions.has(session)),
      undefined,
    );
  }

  /**
   * The results of a batch, empty for a send whose database failed; undefined when all retries failed
   * within `uplinkRetryMs`.
   */
  async #append(
    batch: readonly PendingSend[],
    route: Route,
    span: Span | undefined,
  ): Promise<readonly Uint8Array[] | undefined> {
    const { clock, config, log, ingress } = this.#options;
    const stop = this.#stop.signal;
    const request = {
      $typeName: "lucky.internal.ingress.v1.AppendBatchRequest" as const,
      uplinks: [...batch],
    };
    const untilMs = clock.elapsed() + config.uplinkRetryMs;
    // The time-out is short enough to retry on another server when a server hangs.
    const { callTimeoutMs, uplinkRetryMs } = config;
    const timeoutMs = Math.min(callTimeoutMs, Math.max(1_000, uplinkRetryMs / 2 || callTimeoutMs));
    for (let backoffMs = FIRST_BACKOFF_MS; ; backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)) {
      if (stop.aborted) return undefined;
      try {
        this.#countBatch(batch.length);
        const { results } = await ingress.appendBatch(request, {
          timeoutMs,
          signal: stop,
          contextValues: route.values,
          ...(span && { headers: traceHeaders(span) }),
        });
        if (results.length === batch.length) return results;
        throw new Error(`${batch.length} sends got ${results.length} results`);
      } catch (error) {
        if (stop.aborted) return undefined;
        const { length: sends } = batch;
        log.warn({ event: "append_batch_failed", sends, trace_id: span?.traceId, err: error });
        if (isPermanent(error) || clock.elapsed() + backoffMs > untilMs) return undefined;
      }
      await new Promise<void>((resolve) => clock.after(backoffMs, resolve));
    }
  }

  #sendResults(batch: readonly PendingSend[], results: readonly Uint8Array[] | undefined): void {
    const queue = this.#queue;
    this.#traced.end(batch, results);
    const bySession = new Map<Session, Uint8Array[]>();
    for (let index = 0; index < batch.length; index++) {
      const { session, send } = batch[index]!;
      queue.sends -= 1;
      queue.bytes -= send.length;
      session.sendsInFlight -= 1;
      const appended = results?.[index];
      const result =
        appended !== undefined && appended.length > 0
          ? appended
          : refusedResult(readClientMessageId(send), UNAVAILABLE);
      const list = bySession.get(session);
      if (list) list.push(result);
      else bySession.set(session, [result]);
    }
    sendToOpen(bySession);
  }
}

/** Sends results to the sessions that are still open. */
function sendToOpen(results: ReadonlyMap<Session, readonly Uint8Array[]>): void {
  for (const [session, list] of results) {
    for (let from = 0; from < list.length && session.isOpen; from += RESULTS_PER_FRAME) {
      const some =
        list.length <= RESULTS_PER_FRAME ? list : list.slice(from, from + RESULTS_PER_FRAME);
      session.sendRequired(sendResultsFrame(some));
    }
  }
}

const TOO_MANY_IN_FLIGHT = refusedOutcome({
  reason: ErrorReason.OVERLOADED,
  text: "too many sends wait for their result",
  retryAfterMs: RETRY_AFTER_MS,
});
const QUEUE_FULL = refusedOutcome({
  reason: ErrorReason.OVERLOADED,
  text: "the queue of the instance is full",
  retryAfterMs: RETRY_AFTER_MS,
});
const NO_TARGET = refusedOutcome({
  reason: ErrorReason.INVALID_ARGUMENT,
  text: "target: missing or unreadable",
  retryAfterMs: 0,
  field: "target",
});
const UNAVAILABLE = refusedOutcome({
  reason: ErrorReason.UNAVAILABLE,
  text: "the send may or may not be stored: retry it with the same client_message_id",
  retryAfterMs: RETRY_AFTER_MS,
});
