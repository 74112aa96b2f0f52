import type { Client } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { IngressService, Uplink } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Registry } from "#platform/registry/registry.ts";
import {
  readClientMessageId,
  readTarget,
  refusedOutcome,
  refusedResult,
  type SendTarget,
  sendResultsFrame,
} from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import { type Route, Routes } from "./routes.ts";
import { WaitBound } from "./wait-bound.ts";

export interface UplinkOptions {
  ingress: Pick<Client<typeof IngressService>, "appendBatch">;
  registry: Pick<Registry, "instances">;
  clock: Clock;
  log: Log;
  metrics: Metrics;
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

/** A send on its way: what server gets, and who waits for the result. One object for both. */
interface PendingSend extends Uplink {
  readonly session: Session;
  /** Of the conversation, as far as it is known. */
  readonly hash: number;
  readonly takenAtMs: number;
}

/** The pauses before a failed batch is repeated: the first, doubled each time, and the longest. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;
/** When a refused send may be tried again. */
const RETRY_AFTER_MS = 1_000;

/** Errors after which the same batch would only fail again. */
const PERMANENT_ERRORS = new Set([
  Code.InvalidArgument,
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.Unimplemented,
]);

/**
 * Brings sends to server in batches: what arrives while a batch is on its way goes with the next.
 * What goes to one target is in one batch on its way at most, so the order of what a session sends
 * there is kept, and goes to one server as long as that lives and does its work. Queues are bounded by sends and bytes;
 * when they are full a send is refused with OVERLOADED.
 */
export class Uplinks {
  readonly #options: UplinkOptions;
  readonly #routes: Routes<PendingSend>;
  readonly #sent: (sends: number) => void;
  /** Sends and bytes waiting or on their way. */
  readonly #queue = { sends: 0, bytes: 0 };
  readonly #bound: WaitBound;
  /** Results of refused sends that leave at the end of this turn of the event loop. */
  #refused = new Map<Session, Uint8Array[]>();
  readonly #stop = new AbortController();

  constructor(options: UplinkOptions) {
    const { config } = options;
    this.#options = options;
    const batchSends = options.metrics.histogram(
      "lucky_uplink_batch_sends",
      "Sends in one batch to server.",
      [1, 4, 16, 64, 256, 512],
    );
    this.#bound = new WaitBound(config.uplinkQueueSends, config.uplinkWaitMs);
    this.#sent = (sends) => batchSends.observe(sends);
    this.#routes = new Routes<PendingSend>({
      ...options,
      hash: ({ hash }) => hash,
      batches: {
        key: ({ hash }) => hash,
        bytes: ({ send: { length } }) => length,
        batchCount: config.uplinkBatchSends,
        batchBytes: config.uplinkBatchBytes,
        // What waits is bounded over all routes, below.
        queueCount: Number.MAX_SAFE_INTEGER,
        queueBytes: Number.MAX_SAFE_INTEGER,
        inFlight: config.uplinkLanes,
        lingerMs: config.uplinkLingerMs,
      },
      carry: (batch, route) => this.#carry(batch, route),
    });
  }

  /** Whether nothing is waiting or on its way. */
  get idle(): boolean {
    return this.#queue.sends === 0;
  }

  /** Takes an encoded SendRequest; the bytes are copied. Throws nothing: every send gets a result. */
  take(session: Session, senderId: string, send: Uint8Array): void {
    const { config } = this.#options;
    const queue = this.#queue;
    if (session.sendsInFlight >= config.maxSendsInFlight) {
      this.#refuse(session, send, tooManyInFlight);
    } else if (
      queue.sends >= this.#bound.sends ||
      queue.bytes + send.length > config.uplinkQueueBytes
    ) {
      this.#refuse(session, send, atBound);
    } else {
      let target: SendTarget | undefined;
      try {
        target = readTarget(send);
      } catch {
        target = undefined;
      }
      if (!target) {
        this.#refuse(session, send, noTarget);
        return;
      }
      session.sendsInFlight += 1;
      queue.sends += 1;
      queue.bytes += send.length;
      this.#routes.push({
        session,
        // Now: the frame that it came in was heard in this call.
        takenAtMs: session.lastFrameAtMs,
        hash: hashOf(senderId, target),
        $typeName: "lucky.internal.ingress.v1.Uplink",
        senderId,
        sessionId: session.id,
        send: Buffer.from(send),
      });
    }
  }

  /** Gives up what is on its way. Idempotent. */
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
      for (const [to, list] of refused) if (to.isOpen) to.sendRequired(sendResultsFrame(list));
    });
  }

  async #carry(batch: readonly PendingSend[], route: Route): Promise<void> {
    const waitedMs = this.#options.clock.now() - batch[0]!.takenAtMs;
    this.#bound.observe(waitedMs, this.#queue.sends);
    const results = await this.#append(batch, route);
    this.#answer(batch, results);
    if (results) return;
    // What its sessions sent after a batch that was refused must not overtake its repetition.
    const sessions = new Set(batch.map(({ session }) => session));
    this.#answer(
      this.#routes.withdraw(({ session }) => sessions.has(session)),
      undefined,
    );
  }

  /** The results of a batch; undefined when server could not be reached for too long. */
  async #append(
    batch: readonly PendingSend[],
    route: Route,
  ): Promise<readonly Uint8Array[] | undefined> {
    const { clock, config, log, ingress } = this.#options;
    const stop = this.#stop.signal;
    const request = {
      $typeName: "lucky.internal.ingress.v1.AppendBatchRequest" as const,
      uplinks: [...batch],
    };
    const untilMs = clock.elapsed() + config.uplinkRetryMs;
    // A server that hangs leaves time to ask another one.
    const { callTimeoutMs, uplinkRetryMs } = config;
    const timeoutMs = Math.min(callTimeoutMs, Math.max(1_000, uplinkRetryMs / 2 || callTimeoutMs));
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      if (stop.aborted) return undefined;
      try {
        this.#sent(batch.length);
        const { results } = await ingress.appendBatch(request, {
          timeoutMs,
          signal: stop,
          contextValues: route.values,
        });
        if (results.length === batch.length) return results;
        throw new Error(`${batch.length} sends got ${results.length} results`);
      } catch (error) {
        if (stop.aborted) return undefined;
        log.warn({ event: "append_batch_failed", sends: batch.length, err: error });
        const never = error instanceof ConnectError && PERMANENT_ERRORS.has(error.code);
        if (never || clock.elapsed() + pauseMs > untilMs) return undefined;
      }
      await new Promise<void>((resolve) => clock.after(pauseMs, resolve));
    }
  }

  #answer(batch: readonly PendingSend[], results: readonly Uint8Array[] | undefined): void {
    const queue = this.#queue;
    const bySession = new Map<Session, Uint8Array[]>();
    for (let index = 0; index < batch.length; index++) {
      const { session, send } = batch[index]!;
      queue.sends -= 1;
      queue.bytes -= send.length;
      session.sendsInFlight -= 1;
      const result = results?.[index] ?? refusedResult(readClientMessageId(send), unavailable);
      const list = bySession.get(session);
      if (list) list.push(result);
      else bySession.set(session, [result]);
    }
    for (const [session, list] of bySession)
      if (session.isOpen) session.sendRequired(sendResultsFrame(list));
  }
}

/** A number for the conversation of a send: of a pair of users the same from both sides. */
export function hashOf(senderId: string, { kind, id }: SendTarget): number {
  const target = hash(id.toString());
  // Each is mixed before they are added: neighbouring ids have neighbouring sums else.
  const value = kind === "user" ? target + hash(senderId) : target;
  // A small integer of V8, which costs no allocation.
  return (value >>> 1) & 0x3fffffff;
}

/** FNV-1a, mixed so that all of its bits are good. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  }
  value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
  value = Math.imul(value ^ (value >>> 12), 0x297a2d39);
  return value ^ (value >>> 15);
}

const tooManyInFlight = refusedOutcome({
  reason: ErrorReason.OVERLOADED,
  text: "too many sends wait for their result",
  retryAfterMs: RETRY_AFTER_MS,
});
const atBound = refusedOutcome({
  reason: ErrorReason.OVERLOADED,
  text: "the instance is at its bound",
  retryAfterMs: RETRY_AFTER_MS,
});
const noTarget = refusedOutcome({
  reason: ErrorReason.INVALID_ARGUMENT,
  text: "target: a send needs one that can be read",
  retryAfterMs: 0,
});
const unavailable = refusedOutcome({
  reason: ErrorReason.UNAVAILABLE,
  text: "the send may or may not be stored: repeat it with the same key",
  retryAfterMs: RETRY_AFTER_MS,
});
