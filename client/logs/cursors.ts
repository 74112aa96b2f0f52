import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CursorSchema } from "../../gen/lucky/message/v1/message_pb.js";
import type { Clock, Timer } from "../clock.ts";
import { frameWeight, type RateLimit } from "../rate-limit.ts";

/** How long acknowledgements are batched before they are sent, ms. */
const BATCH_DELAY_MS = 50;
/**
 * Throttle of delivered acknowledgements: shortest interval between two of one conversation, ms.
 * The first one after an idle time is quick, so that the sender sees soon that the message arrived.
 * In a busy conversation they are cumulative, and one acknowledgement per entry from a thousand
 * members would cost more than the entries. The interval is random per device, or all devices of a
 * large group would send at once.
 */
const MIN_THROTTLE_MS = 400;
const MAX_THROTTLE_MS = 600;
/** Cursors per frame, unless the server names another maximum. */
const CURSORS_PER_FRAME = 200;

interface Position {
  delivered: bigint;
  read: bigint;
}

/** The position last sent on this session, with its time, elapsed ms. */
interface Sent extends Position {
  atMs: number;
}

/**
 * Acknowledges to the server how far each conversation was delivered and read. Acknowledgements are
 * cumulative, so batching loses nothing. Those sent on a session that broke are resent on the next.
 */
export class Cursors {
  readonly #clock: Clock;
  readonly #write: (cursors: MessageInitShape<typeof CursorSchema>[]) => void;
  readonly #throttleMs: number;
  #pending = new Map<string, Position>();
  #sent = new Map<string, Sent>();
  #timer: { readonly native: Timer; readonly dueMs: number } | undefined;
  #open = false;
  #rateLimit: RateLimit | undefined;
  #perFrame = CURSORS_PER_FRAME;

  /** `write` sends one acknowledgement frame on the open session. */
  constructor(
    clock: Clock,
    write: (cursors: MessageInitShape<typeof CursorSchema>[]) => void,
    random: () => number = Math.random,
  ) {
    this.#clock = clock;
    this.#write = write;
    this.#throttleMs = MIN_THROTTLE_MS + random() * (MAX_THROTTLE_MS - MIN_THROTTLE_MS);
  }

  /** Acknowledges that all entries up to the sequence have arrived, without a gap. Throttled. */
  delivered(conversationId: string, sequence: bigint): void {
    raise(this.#pending, conversationId, { delivered: sequence, read: 0n });
    const sent = this.#sent.get(conversationId);
    const throttledMs = sent ? sent.atMs + this.#throttleMs - this.#clock.elapsed() : 0;
    this.#scheduleFlush(Math.max(BATCH_DELAY_MS, throttledMs));
  }

  /** Acknowledges that the user has read all entries up to the sequence. Not throttled. */
  read(conversationId: string, sequence: bigint): void {
    raise(this.#pending, conversationId, { delivered: 0n, read: sequence });
    this.#scheduleFlush(BATCH_DELAY_MS);
  }

  /** Starts sending on an open session, within its limits. `maxCursors` is per frame; 0: not known. */
  open(rateLimit: RateLimit | undefined, maxCursors = 0): void {
    this.#open = true;
    this.#rateLimit = rateLimit;
    this.#perFrame = maxCursors || CURSORS_PER_FRAME;
    this.#flush(rateLimit);
  }

  /**
   * Queues the acknowledgements of a broken session again: the server may not have received them.
   */
  lost(): void {
    this.#open = false;
    this.#stopTimer();
    for (const [id, position] of this.#sent) raise(this.#pending, id, position);
    this.#sent.clear();
  }

  /** Drops what was acknowledged of a conversation: its log was reset. */
  forget(conversationId: string): void {
    this.#pending.delete(conversationId);
    this.#sent.delete(conversationId);
  }

  /** Sends all pending acknowledgements now, without the rate limit. */
  flush(): void {
    this.#flush(undefined);
  }

  #flush(rateLimit: RateLimit | undefined): void {
    this.#stopTimer();
    while (this.#open && this.#pending.size > 0) {
      const batch = [...this.#pending].slice(0, this.#perFrame);
      const waitMs = rateLimit?.take(frameWeight({ cursors: batch.length })) ?? 0;
      if (waitMs > 0) {
        this.#scheduleFlush(waitMs);
        return;
      }
      for (const [id, position] of batch) {
        this.#pending.delete(id);
        const before = this.#sent.get(id) ?? { delivered: 0n, read: 0n };
        this.#sent.set(id, { ...furthest(before, position), atMs: this.#clock.elapsed() });
      }
      this.#write(
        batch.map(([conversationId, { delivered, read }]) => ({
          conversationId,
          deliveredSequence: delivered,
          readSequence: read,
        })),
      );
    }
  }

  #scheduleFlush(inMs: number): void {
    if (!this.#open) return;
    const dueMs = this.#clock.elapsed() + inMs;
    if (this.#timer && this.#timer.dueMs <= dueMs) return;
    this.#stopTimer();
    this.#timer = { native: this.#clock.after(inMs, () => this.#flush(this.#rateLimit)), dueMs };
  }

  #stopTimer(): void {
    this.#timer?.native.stop();
    this.#timer = undefined;
  }
}

function furthest(one: Position, other: Position): Position {
  return {
    delivered: one.delivered > other.delivered ? one.delivered : other.delivered,
    read: one.read > other.read ? one.read : other.read,
  };
}

function raise(positions: Map<string, Position>, id: string, to: Position): void {
  const before = positions.get(id);
  positions.set(id, before ? furthest(before, to) : { delivered: to.delivered, read: to.read });
}
