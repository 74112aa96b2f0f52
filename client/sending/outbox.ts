import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { ClientFrameSchema, type Welcome } from "../../gen/lucky/frame/v1/frame_pb.js";
import {
  type Accepted,
  type Entry,
  type SendRequest,
  SendRequestSchema,
  type SendResult,
} from "../../gen/lucky/message/v1/message_pb.js";
import { Backoff } from "../backoff.ts";
import type { Clock, Timer } from "../clock.ts";
import { LuckyError } from "../error.ts";
import { type Pace, weightOf } from "../pace.ts";
import type { ClientStore, StoredSend } from "../store.ts";
import { entryOf, isEntryOf } from "./send-request.ts";

/** Sends that may wait at once; more are refused with OVERLOADED. */
const CAPACITY = 10_000;
/** How often a send is written to a socket before it is given up with its outcome unknown. */
const TRIES_LIMIT = 10;
/** A send without a result for so long says that the session is not well. */
const RESULT_MS = 30_000;

/** What became of a send. */
export type Settled =
  | { readonly kind: "accepted"; readonly clientMessageId: string; readonly accepted: Accepted }
  | { readonly kind: "refused"; readonly clientMessageId: string; readonly error: LuckyError };

interface Pending extends StoredSend {
  /** Rises with every send; what is sent again takes its old place. */
  readonly order: number;
  readonly decoded: SendRequest;
  readonly backoff: Backoff;
  tries: number;
  writtenAtMs: number;
  readonly settle: (settled: Settled) => void;
}

/** What the outbox needs. */
export interface OutboxOptions {
  readonly clock: Clock;
  readonly store: ClientStore;
  /** Writes a frame to the socket. */
  readonly write: (frame: Uint8Array) => void;
  /** A send is in the log: its entry, but for the sender. Called before the send settles. */
  readonly accepted: (entry: Entry) => void;
  /** Any send settled, also one of an earlier run. */
  readonly settled: (settled: Settled) => void;
  /** The server does not answer sends on this session. */
  readonly stuck: () => void;
}

/**
 * Holds every send until its result. On the wire, a window of them in the order of the calls, and
 * never two with the same key. A send without a result is repeated with the same bytes after a
 * reconnect, and after a pause when the server is busy; sends to the same target wait for it.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  /** On the wire without a result, by key. */
  readonly #flying = new Map<string, Pending>();
  /** Without a result, and may be stored: was on the wire at least once, by key. */
  readonly #tried = new Map<string, Pending>();
  readonly #held = new Map<string, Timer>();
  #queue: Pending[] = [];
  #nextOrder = 0;
  #watch: Timer | undefined;
  #bounds: Welcome | undefined;
  #pace: Pace | undefined;
  #paused: Timer | undefined;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Takes up the sends that an earlier run did not finish. */
  restore(sends: readonly StoredSend[]): void {
    for (const send of sends) this.#enqueue(send, () => {});
  }

  /** Sends; resolves when the message is in the log, rejects when it is refused or given up. */
  send(request: SendRequest): Promise<Accepted> {
    return new Promise((resolve, reject) => {
      if (this.#queue.length + this.#flying.size >= CAPACITY) {
        reject(new LuckyError(ErrorReason.OVERLOADED, `${CAPACITY} sends wait already`));
        return;
      }
      const { target, clientMessageId } = request;
      const send = {
        clientMessageId,
        target: target.case === "userId" ? `u:${target.value}` : `c:${target.value}`,
        request: toBinary(SendRequestSchema, request),
      };
      this.#options.store.putSend(send);
      this.#enqueue(send, (settled) => {
        if (settled.kind === "accepted") resolve(settled.accepted);
        else reject(settled.error);
      });
      this.#dispatch();
    });
  }

  /** A session is open: what waits may go. */
  open(welcome: Welcome, pace: Pace | undefined): void {
    this.#bounds = welcome;
    this.#pace = pace;
    this.#dispatch();
  }

  /** The session is gone: what has no result will be sent again. */
  lost(): void {
    this.#bounds = undefined;
    this.#stopWatch();
    for (const pending of this.#flying.values()) this.#again(pending);
    this.#flying.clear();
  }

  /** How many sends are on the wire without a result. */
  get inFlight(): number {
    return this.#flying.size;
  }

  /** Takes a result of the server. One that nobody waits for (any more) is passed over. */
  result({ clientMessageId, outcome }: SendResult): void {
    const pending = this.#flying.get(clientMessageId);
    if (!pending || outcome.case === undefined) return;
    this.#flying.delete(clientMessageId);
    if (outcome.case === "accepted") this.#accept(pending, outcome.value);
    else
      this.#refuse(
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

  /** Whether the entry is a send that waits for its result. */
  isOwn(entry: Entry): boolean {
    const pending = this.#tried.get(entry.clientMessageId);
    return pending !== undefined && isEntryOf(entry, pending.decoded);
  }

  /** Gives up everything that waits. */
  close(error: LuckyError): void {
    const all = [...this.#flying.values(), ...this.#queue].sort((a, b) => a.order - b.order);
    this.#bounds = undefined;
    this.#stopWatch();
    this.#flying.clear();
    this.#queue = [];
    for (const timer of this.#held.values()) timer.stop();
    this.#held.clear();
    for (const pending of all) this.#settle(pending, refused(pending, error));
  }

  #enqueue(send: StoredSend, settle: (settled: Settled) => void): void {
    this.#queue.push({
      ...send,
      settle,
      order: this.#nextOrder++,
      decoded: fromBinary(SendRequestSchema, send.request),
      backoff: new Backoff({ firstMs: 200, longestMs: 5_000 }),
      tries: 0,
      writtenAtMs: 0,
    });
  }

  #dispatch(): void {
    if (!this.#bounds) return;
    for (
      let at = 0;
      at < this.#queue.length && this.#flying.size < this.#bounds.maxSendsInFlight;
    ) {
      const pending = this.#queue[at]!;
      const mustWait = this.#held.has(pending.target) || this.#flying.has(pending.clientMessageId);
      if (mustWait) {
        at++;
        continue;
      }
      const waitMs = this.#pace?.take(weightOf({ bytes: pending.request.length })) ?? 0;
      if (waitMs > 0) {
        this.#dispatchIn(waitMs);
        return;
      }
      this.#queue.splice(at, 1);
      this.#write(pending, this.#bounds.maxFrameBytes);
    }
  }

  #dispatchIn(delayMs: number): void {
    this.#paused ??= this.#options.clock.after(delayMs, () => {
      this.#paused = undefined;
      this.#dispatch();
    });
  }

  #write(pending: Pending, frameBytes: number): void {
    const frame = new BinaryWriter()
      .tag(ClientFrameSchema.field.send.number, WireType.LengthDelimited)
      .bytes(pending.request)
      .finish();
    if (frameBytes > 0 && frame.length > frameBytes) {
      const text = `a frame of ${frame.length} bytes; the server takes ${frameBytes}`;
      this.#settle(pending, refused(pending, new LuckyError(ErrorReason.INVALID_ARGUMENT, text)));
      return;
    }
    pending.tries++;
    pending.writtenAtMs = this.#options.clock.now();
    this.#flying.set(pending.clientMessageId, pending);
    this.#tried.set(pending.clientMessageId, pending);
    this.#watch ??= this.#options.clock.after(RESULT_MS, () => this.#checkOldest());
    this.#options.write(frame);
  }

  #checkOldest(): void {
    this.#watch = undefined;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const { writtenAtMs } of this.#flying.values()) oldestMs = Math.min(oldestMs, writtenAtMs);
    if (oldestMs === Number.POSITIVE_INFINITY) return;
    const leftMs = oldestMs + RESULT_MS - this.#options.clock.now();
    if (leftMs > 0) this.#watch = this.#options.clock.after(leftMs, () => this.#checkOldest());
    else this.#options.stuck();
  }

  #accept(pending: Pending, accepted: Accepted): void {
    const { clientMessageId, decoded } = pending;
    this.#options.accepted(entryOf(decoded, accepted));
    this.#settle(pending, { kind: "accepted", clientMessageId, accepted });
  }

  #refuse(pending: Pending, error: LuckyError): void {
    if (!error.passing || pending.tries >= TRIES_LIMIT) {
      this.#settle(pending, refused(pending, error));
      return;
    }
    this.#again(pending);
    this.#hold(pending.target, pending.backoff.next(Math.max(50, error.retryAfterMs)));
  }

  #again(pending: Pending): void {
    if (pending.tries >= TRIES_LIMIT) {
      const text = `no result after ${TRIES_LIMIT} tries; the outcome is unknown`;
      this.#settle(pending, refused(pending, new LuckyError(ErrorReason.UNAVAILABLE, text)));
      return;
    }
    const at = this.#queue.findIndex((other) => other.order > pending.order);
    this.#queue.splice(at < 0 ? this.#queue.length : at, 0, pending);
  }

  #hold(target: string, delayMs: number): void {
    this.#held.get(target)?.stop();
    const timer = this.#options.clock.after(delayMs, () => {
      this.#held.delete(target);
      this.#dispatch();
    });
    this.#held.set(target, timer);
  }

  #stopWatch(): void {
    this.#watch?.stop();
    this.#watch = undefined;
    this.#paused?.stop();
    this.#paused = undefined;
  }

  #settle(pending: Pending, settled: Settled): void {
    const { clientMessageId, target } = pending;
    if (this.#tried.get(clientMessageId) === pending) this.#tried.delete(clientMessageId);
    this.#options.store.removeSend(clientMessageId, target);
    pending.settle(settled);
    this.#options.settled(settled);
  }
}

function refused(pending: Pending, error: LuckyError): Settled {
  return { kind: "refused", clientMessageId: pending.clientMessageId, error };
}
