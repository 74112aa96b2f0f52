import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { ClientFrameSchema, type Limits, type Welcome } from "../../gen/lucky/frame/v1/frame_pb.js";
import { ContentSchema } from "../../gen/lucky/message/v1/content_pb.js";
import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import {
  type Accepted,
  type SendRequest,
  SendRequestSchema,
  type SendResult,
} from "../../gen/lucky/message/v1/message_pb.js";
import { Backoff } from "../backoff.ts";
import type { Clock, Timer } from "../clock.ts";
import { LuckyError } from "../error.ts";
import { frameWeight, type RateLimit } from "../rate-limit.ts";
import type { ClientStore, StoredSend } from "../store.ts";
import type { TraceOptions } from "../trace-options.ts";
import { detailsOf, entryOf, isEntryOf, MAX_SEND_ATTEMPTS, partsOf } from "./send-request.ts";

/** Largest number of sends without a result; more are rejected with OVERLOADED. */
const MAX_QUEUED_SENDS = 10_000;
/** Time-out for the result of a send, ms; then the session counts as broken. */
const RESULT_TIMEOUT_MS = 30_000;

/** The result of a send. */
export type Settled =
  | { readonly kind: "accepted"; readonly clientMessageId: string; readonly accepted: Accepted }
  | { readonly kind: "refused"; readonly clientMessageId: string; readonly error: LuckyError };

interface Pending extends StoredSend {
  /** Position in the queue, ascending; a retried send returns to its old position. */
  readonly order: number;
  readonly decoded: SendRequest;
  readonly backoff: Backoff;
  readonly trace: TraceOptions;
  attempts: number;
  writtenAtMs: number;
  readonly settle: (settled: Settled) => void;
}

export interface SendQueueOptions {
  readonly clock: Clock;
  readonly store: ClientStore;
  /** Writes a frame to the WebSocket. */
  readonly write: (frame: Uint8Array) => void;
  /** Called with the entry of a send in the log, without its sender id, before the send settles. */
  readonly accepted: (entry: Entry) => void;
  /** Called when a send has settled, including sends of an earlier run. */
  readonly settled: (settled: Settled) => void;
  /** Called when the oldest send in flight has timed out: the session is broken. */
  readonly resultTimedOut: () => void;
}

/**
 * Queues every send until its result. A window of them is in flight, in the order of the calls, and
 * never two with the same client_message_id. A send without a result is retried with the same bytes
 * after a reconnect, and with back-off when the server is busy; sends to the same target wait for
 * it.
 */
export class SendQueue {
  readonly #options: SendQueueOptions;
  /** Sends without a result that were written to the current session, by client_message_id. */
  readonly #inFlight = new Map<string, Pending>();
  /**
   * Sends without a result that were written at least once, so they may be in the log; by
   * client_message_id.
   */
  readonly #attempted = new Map<string, Pending>();
  /** Targets whose sends wait for the back-off of a retry. */
  readonly #delayedTargets = new Map<string, Timer>();
  #queue: Pending[] = [];
  #nextOrder = 0;
  #resultTimer: Timer | undefined;
  #limits: Limits | undefined;
  #rateLimit: RateLimit | undefined;
  #rateLimitTimer: Timer | undefined;

  constructor(options: SendQueueOptions) {
    this.#options = options;
  }

  /** Queues the sends that an earlier run left without a result. */
  restore(sends: readonly StoredSend[]): void {
    for (const send of sends) this.#enqueue(send, {}, () => {});
  }

  /**
   * Sends; resolves when the message is in the log, rejects when it is refused or its retries are
   * used up.
   */
  send(request: SendRequest, trace: TraceOptions = {}): Promise<Accepted> {
    return new Promise((resolve, reject) => {
      if (this.#queue.length + this.#inFlight.size >= MAX_QUEUED_SENDS) {
        reject(
          new LuckyError(ErrorReason.OVERLOADED, `${MAX_QUEUED_SENDS} sends are queued already`),
        );
        return;
      }
      const { target, clientMessageId } = request;
      const send = {
        clientMessageId,
        target: target.case === "userId" ? `u:${target.value}` : `c:${target.value}`,
        request: toBinary(SendRequestSchema, request),
      };
      this.#options.store.putSend(send);
      this.#enqueue(send, trace, (settled) => {
        if (settled.kind === "accepted") resolve(settled.accepted);
        else reject(settled.error);
      });
      this.#dispatch();
    });
  }

  /** Starts sending on an open session, within its bounds and rate limit. */
  open(welcome: Welcome, rateLimit: RateLimit | undefined): void {
    this.#limits = welcome.limits;
    this.#rateLimit = rateLimit;
    this.#dispatch();
  }

  /** Queues the sends in flight for a retry: their session broke. */
  lost(): void {
    this.#limits = undefined;
    this.#stopTimers();
    for (const pending of this.#inFlight.values()) this.#requeue(pending);
    this.#inFlight.clear();
  }

  /** Number of sends in flight. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Takes a result of the server. A result of a send that is not in flight is dropped. */
  result({ clientMessageId, outcome }: SendResult): void {
    const pending = this.#inFlight.get(clientMessageId);
    if (!pending || outcome.case === undefined) return;
    this.#inFlight.delete(clientMessageId);
    if (outcome.case === "accepted") this.#settleAccepted(pending, outcome.value);
    else
      this.#settleOrRetry(
        pending,
        LuckyError.fromDetail(
          outcome.value.error,
          outcome.value.text,
          ErrorReason.UNSPECIFIED,
          undefined,
        ),
      );
    this.#dispatch();
  }

  /** Whether the entry is a send without a result yet. */
  isOwn(entry: Entry): boolean {
    const pending = this.#attempted.get(entry.clientMessageId);
    return pending !== undefined && isEntryOf(entry, pending.decoded);
  }

  /**
   * Rejects all sends without a result. With `keep` they stay in the store, for `restore`; otherwise
   * they are removed from it.
   */
  close(error: LuckyError, { keep }: { keep: boolean }): void {
    const all = [...this.#inFlight.values(), ...this.#queue].sort((a, b) => a.order - b.order);
    this.#limits = undefined;
    this.#stopTimers();
    this.#inFlight.clear();
    this.#queue = [];
    for (const timer of this.#delayedTargets.values()) timer.stop();
    this.#delayedTargets.clear();
    for (const pending of all) {
      if (keep) this.#leave(pending, error);
      else this.#settle(pending, refused(pending, error));
    }
  }

  /** Rejects a send that stays in the store: it has no result yet, so it has not settled. */
  #leave(pending: Pending, { reason, message }: LuckyError): void {
    this.#attempted.delete(pending.clientMessageId);
    const text = `${message}; the message stays in the store and is sent later`;
    pending.settle(refused(pending, new LuckyError(reason, text)));
  }

  #enqueue(send: StoredSend, trace: TraceOptions, settle: (settled: Settled) => void): void {
    this.#queue.push({
      ...send,
      trace,
      settle,
      order: this.#nextOrder++,
      decoded: fromBinary(SendRequestSchema, send.request),
      backoff: new Backoff({ firstMs: 200, longestMs: 5_000 }),
      attempts: 0,
      writtenAtMs: 0,
    });
  }

  #dispatch(): void {
    if (!this.#limits) return;
    for (
      let at = 0;
      at < this.#queue.length && this.#inFlight.size < this.#limits.maxSendsInFlight;
    ) {
      const pending = this.#queue[at]!;
      const mustWait =
        this.#delayedTargets.has(pending.target) || this.#inFlight.has(pending.clientMessageId);
      if (mustWait) {
        at++;
        continue;
      }
      const { request, decoded } = pending;
      const fields = { parts: partsOf(decoded), details: detailsOf(decoded) };
      const waitMs = this.#rateLimit?.take(frameWeight({ bytes: request.length, ...fields })) ?? 0;
      if (waitMs > 0) {
        this.#dispatchAfter(waitMs);
        return;
      }
      this.#queue.splice(at, 1);
      this.#write(pending, this.#limits);
    }
  }

  #dispatchAfter(delayMs: number): void {
    this.#rateLimitTimer ??= this.#options.clock.after(delayMs, () => {
      this.#rateLimitTimer = undefined;
      this.#dispatch();
    });
  }

  #write(pending: Pending, limits: Limits): void {
    const { send, traceparent } = ClientFrameSchema.field;
    const writer = new BinaryWriter()
      .tag(send.number, WireType.LengthDelimited)
      .bytes(pending.request);
    const { traceparent: context } = pending.trace;
    if (context) writer.tag(traceparent.number, WireType.LengthDelimited).string(context);
    const frame = writer.finish();
    const tooLarge = tooLargeText(pending, frame.length, limits);
    if (tooLarge !== undefined) {
      const error = new LuckyError(ErrorReason.INVALID_ARGUMENT, tooLarge, { field: "content" });
      this.#settle(pending, refused(pending, error));
      return;
    }
    pending.attempts++;
    pending.writtenAtMs = this.#options.clock.elapsed();
    this.#inFlight.set(pending.clientMessageId, pending);
    this.#attempted.set(pending.clientMessageId, pending);
    this.#resultTimer ??= this.#options.clock.after(RESULT_TIMEOUT_MS, () => this.#checkOldest());
    this.#options.write(frame);
  }

  #checkOldest(): void {
    this.#resultTimer = undefined;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const { writtenAtMs } of this.#inFlight.values())
      oldestMs = Math.min(oldestMs, writtenAtMs);
    if (oldestMs === Number.POSITIVE_INFINITY) return;
    const leftMs = oldestMs + RESULT_TIMEOUT_MS - this.#options.clock.elapsed();
    if (leftMs > 0)
      this.#resultTimer = this.#options.clock.after(leftMs, () => this.#checkOldest());
    else this.#options.resultTimedOut();
  }

  #settleAccepted(pending: Pending, accepted: Accepted): void {
    const { clientMessageId, decoded } = pending;
    this.#options.accepted(entryOf(decoded, accepted));
    this.#settle(pending, { kind: "accepted", clientMessageId, accepted });
  }

  #settleOrRetry(pending: Pending, error: LuckyError): void {
    if (!error.retryable || pending.attempts >= MAX_SEND_ATTEMPTS) {
      this.#settle(pending, refused(pending, error));
      return;
    }
    this.#requeue(pending);
    this.#delayTarget(pending.target, pending.backoff.next(Math.max(50, error.retryAfterMs)));
  }

  #requeue(pending: Pending): void {
    if (pending.attempts >= MAX_SEND_ATTEMPTS) {
      const text = `no result after ${MAX_SEND_ATTEMPTS} attempts; the outcome is unknown`;
      this.#settle(pending, refused(pending, new LuckyError(ErrorReason.UNAVAILABLE, text)));
      return;
    }
    const at = this.#queue.findIndex((other) => other.order > pending.order);
    this.#queue.splice(at < 0 ? this.#queue.length : at, 0, pending);
  }

  #delayTarget(target: string, delayMs: number): void {
    this.#delayedTargets.get(target)?.stop();
    const timer = this.#options.clock.after(delayMs, () => {
      this.#delayedTargets.delete(target);
      this.#dispatch();
    });
    this.#delayedTargets.set(target, timer);
  }

  #stopTimers(): void {
    this.#resultTimer?.stop();
    this.#resultTimer = undefined;
    this.#rateLimitTimer?.stop();
    this.#rateLimitTimer = undefined;
  }

  #settle(pending: Pending, settled: Settled): void {
    const { clientMessageId, target } = pending;
    if (this.#attempted.get(clientMessageId) === pending) this.#attempted.delete(clientMessageId);
    this.#options.store.removeSend(clientMessageId, target);
    pending.settle(settled);
    this.#options.settled(settled);
  }
}

/** Why the server would not accept a send of this size; undefined when it would. Limits of 0 are not known. */
function tooLargeText(
  { decoded, request }: Pending,
  frameBytes: number,
  { maxClientFrameBytes, maxContentBytes }: Limits,
): string | undefined {
  if (maxClientFrameBytes > 0 && frameBytes > maxClientFrameBytes)
    return `a frame of ${frameBytes} bytes; the server takes ${maxClientFrameBytes}`;
  if (maxContentBytes === 0 || request.length <= maxContentBytes || !decoded.content)
    return undefined;
  const bytes = toBinary(ContentSchema, decoded.content).length;
  if (bytes <= maxContentBytes) return undefined;
  return `a content of ${bytes} bytes; the server takes ${maxContentBytes}`;
}

function refused(pending: Pending, error: LuckyError): Settled {
  return { kind: "refused", clientMessageId: pending.clientMessageId, error };
}
