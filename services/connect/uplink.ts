import type { Client } from "@connectrpc/connect";
import { Code, ConnectError, type ContextValues, createContextValues } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { IngressService, Uplink } from "../../gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { Clock, Timer } from "../../platform/clock.ts";
import type { Log } from "../../platform/log.ts";
import type { Metrics } from "../../platform/metrics.ts";
import { routeKey } from "../../platform/rpc/route.ts";
import { readSend, readTarget, refusal, type SendTarget, sendResultsFrame } from "./frames.ts";
import type { Session } from "./session.ts";

export interface UplinkOptions {
  ingress: Pick<Client<typeof IngressService>, "appendBatch">;
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
    readonly uplinkQueueBytes: number;
    readonly uplinkRetryMs: number;
    readonly callTimeoutMs: number;
  };
}

/** A send on its way: what server gets, and who waits for the result. */
interface Waiting {
  readonly session: Session;
  readonly uplink: Uplink;
}

/** What the uplink needs of a batch that failed before it tries again, at most. */
const maxPauseMs = 1_000;
const firstPauseMs = 50;
/** When a refused send may be tried again. */
const retryAfterMs = 1_000;

/** Errors after which the same batch would only fail again. */
const hopeless = new Set([
  Code.InvalidArgument,
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.Unimplemented,
]);

/**
 * Brings sends to server in batches: what arrived while the last batch was on its way goes next. A
 * conversation stays in its lane, and a lane has one batch on its way, so the order of what a
 * session sends to one target is kept. Queues are bounded by sends and bytes; when they are full a
 * send is refused with OVERLOADED.
 */
export class UplinkLanes {
  readonly #options: UplinkOptions;
  readonly #lanes: Lane[];
  readonly #queue = { sends: 0, bytes: 0 };
  readonly #stop = new AbortController();

  constructor(options: UplinkOptions) {
    this.#options = options;
    const batchSends = options.metrics.histogram(
      "lucky_uplink_batch_sends",
      "Sends in one batch to server.",
      [1, 4, 16, 64, 256, 512],
    );
    const context = {
      options,
      queue: this.#queue,
      stop: this.#stop.signal,
      sent: (sends: number) => batchSends.observe(sends),
    };
    this.#lanes = Array.from(
      { length: options.config.uplinkLanes },
      (_, index) => new Lane(context, index),
    );
  }

  /** Whether nothing is waiting or on its way. */
  get idle(): boolean {
    return this.#queue.sends === 0;
  }

  /** Takes an encoded SendRequest; the bytes are copied. Throws nothing: every send gets a result. */
  take(session: Session, senderId: string, send: Uint8Array): void {
    const { config } = this.#options;
    let target: SendTarget | undefined;
    try {
      target = readTarget(send);
    } catch {
      target = undefined;
    }
    const refuse = (reason: ErrorReason, text: string, retryAfterMs: number): void => {
      const clientMessageId = keyOf(send);
      session.tell(sendResultsFrame([refusal({ clientMessageId, reason, text, retryAfterMs })]));
    };
    if (!target) {
      refuse(ErrorReason.INVALID_ARGUMENT, "target: a send needs one that can be read", 0);
    } else if (session.sendsInFlight >= config.maxSendsInFlight) {
      refuse(ErrorReason.OVERLOADED, "too many sends wait for their result", retryAfterMs);
    } else if (
      this.#queue.sends >= config.uplinkQueueSends ||
      this.#queue.bytes + send.length > config.uplinkQueueBytes
    ) {
      refuse(ErrorReason.OVERLOADED, "the instance is at its bound", retryAfterMs);
    } else {
      session.sendsInFlight += 1;
      this.#queue.sends += 1;
      this.#queue.bytes += send.length;
      this.#lanes[laneOf(senderId, target, this.#lanes.length)]!.push({
        session,
        uplink: {
          $typeName: "lucky.internal.ingress.v1.Uplink",
          senderId,
          sessionId: session.id,
          send: Buffer.from(send),
        },
      });
    }
  }

  /** Gives up what is on its way. Idempotent. */
  close(): void {
    this.#stop.abort();
    for (const lane of this.#lanes) lane.close();
  }
}

/** The lane of a conversation: of a pair of users the same from both sides. */
export function laneOf(senderId: string, target: SendTarget, lanes: number): number {
  if (lanes === 1) return 0;
  if (target.kind === "conversation") return hash(`c${target.conversationId}`) % lanes;
  const userId = target.userId.toString();
  const senderFirst =
    senderId.length === userId.length ? senderId < userId : senderId.length < userId.length;
  return hash(senderFirst ? `${senderId}:${userId}` : `${userId}:${senderId}`) % lanes;
}

/** FNV-1a, mixed once more so that its low bits are good. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  }
  value ^= value >>> 15;
  value = Math.imul(value, 0x2c1b3c6d);
  return (value ^ (value >>> 12)) >>> 0;
}

interface LaneContext {
  readonly options: UplinkOptions;
  /** Sends and bytes of all lanes, waiting or on their way. */
  readonly queue: { sends: number; bytes: number };
  readonly stop: AbortSignal;
  readonly sent: (sends: number) => void;
}

class Lane {
  readonly #context: LaneContext;
  readonly #values: ContextValues;
  #waiting: Waiting[] = [];
  #head = 0;
  #flying = false;
  #linger: Timer | undefined;

  constructor(context: LaneContext, index: number) {
    this.#context = context;
    // The same over all instances, so that a conversation usually meets the same server.
    this.#values = createContextValues().set(routeKey, `uplink-${index}`);
  }

  push(waiting: Waiting): void {
    this.#waiting.push(waiting);
    if (this.#flying) return;
    this.#flying = true;
    const { clock, config } = this.#context.options;
    // With setImmediate everything that this turn of the event loop reads from sockets goes along.
    if (config.uplinkLingerMs === 0) setImmediate(() => void this.#fly());
    else this.#linger = clock.after(config.uplinkLingerMs, () => void this.#fly());
  }

  close(): void {
    this.#linger?.stop();
  }

  async #fly(): Promise<void> {
    while (this.#head < this.#waiting.length && !this.#context.stop.aborted) {
      const batch = this.#take();
      const results = await this.#append(batch);
      this.#answer(batch, results);
      if (!results) this.#refuseBehind(batch);
    }
    this.#waiting = [];
    this.#head = 0;
    this.#flying = false;
  }

  #take(): Waiting[] {
    const { uplinkBatchSends, uplinkBatchBytes } = this.#context.options.config;
    const from = this.#head;
    const end = Math.min(this.#waiting.length, from + uplinkBatchSends);
    let bytes = 0;
    let to = from;
    while (to < end) {
      bytes += this.#waiting[to]!.uplink.send.length;
      if (to > from && bytes > uplinkBatchBytes) break;
      to += 1;
    }
    const batch = this.#waiting.slice(from, to);
    this.#head = to;
    if (this.#head > 1_024 && this.#head * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return batch;
  }

  /** Refuses what waits of the sessions in a batch that was refused: it must not overtake that. */
  #refuseBehind(batch: readonly Waiting[]): void {
    const sessions = new Set(batch.map(({ session }) => session));
    const rest = this.#waiting.slice(this.#head);
    const behind = rest.filter(({ session }) => sessions.has(session));
    if (behind.length === 0) return;
    this.#waiting = rest.filter(({ session }) => !sessions.has(session));
    this.#head = 0;
    this.#answer(behind, undefined);
  }

  /** The results of a batch; undefined when server could not be reached for too long. */
  async #append(batch: readonly Waiting[]): Promise<readonly Uint8Array[] | undefined> {
    const { options, stop, sent } = this.#context;
    const { clock, config, log } = options;
    const request = {
      $typeName: "lucky.internal.ingress.v1.AppendBatchRequest" as const,
      uplinks: batch.map(({ uplink }) => uplink),
    };
    const untilMs = clock.now() + config.uplinkRetryMs;
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
      try {
        sent(batch.length);
        const { results } = await options.ingress.appendBatch(request, {
          timeoutMs: config.callTimeoutMs,
          signal: stop,
          contextValues: this.#values,
        });
        if (results.length === batch.length) return results;
        throw new Error(`${batch.length} sends got ${results.length} results`);
      } catch (error) {
        if (stop.aborted) return undefined;
        log.warn({ event: "append_batch_failed", sends: batch.length, err: error });
        const never = error instanceof ConnectError && hopeless.has(error.code);
        if (never || clock.now() + pauseMs > untilMs) return undefined;
      }
      await new Promise<void>((resolve) => clock.after(pauseMs, resolve));
      if (stop.aborted) return undefined;
    }
  }

  /** One frame per session with all of its results. */
  #answer(batch: readonly Waiting[], results: readonly Uint8Array[] | undefined): void {
    const { queue } = this.#context;
    const bySession = new Map<Session, Uint8Array[]>();
    for (const [index, { session, uplink }] of batch.entries()) {
      queue.sends -= 1;
      queue.bytes -= uplink.send.length;
      session.sendsInFlight -= 1;
      const result = results?.[index] ?? unavailable(uplink.send);
      const list = bySession.get(session);
      if (list) list.push(result);
      else bySession.set(session, [result]);
    }
    for (const [session, list] of bySession)
      if (session.isOpen) session.tell(sendResultsFrame(list));
  }
}

/** The key of a send that is refused; empty when it cannot be read. */
function keyOf(send: Uint8Array): string {
  try {
    return readSend(send).clientMessageId;
  } catch {
    return "";
  }
}

function unavailable(send: Uint8Array): Uint8Array {
  return refusal({
    clientMessageId: keyOf(send),
    reason: ErrorReason.UNAVAILABLE,
    text: "the send may or may not be stored: repeat it with the same key",
    retryAfterMs,
  });
}
