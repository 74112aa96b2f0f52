import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CursorSchema } from "../../gen/lucky/message/v1/message_pb.js";
import type { Clock, Timer } from "../clock.ts";
import { frameWeight, type RateLimit } from "../rate-limit.ts";

/** How long acknowledgements are joined before they leave. */
const BATCH_DELAY_MS = 50;
/**
 * The least time between two acknowledgements of what arrived in one conversation: the first after a
 * silence is quick, so that the sender sees its tick; in a busy one they are cumulative anyway, and
 * a thousand members who each acknowledged every entry would cost more than the entries. Not the same
 * for every device, or those of a large group would all speak at once.
 */
const MIN_THROTTLE_MS = 400;
const MAX_THROTTLE_MS = 600;
/** Cursors a frame. */
const CURSORS_PER_FRAME = 200;

interface Position {
  delivered: bigint;
  read: bigint;
}

/** What was sent last on this session, and when. */
interface Sent extends Position {
  atMs: number;
}

/**
 * Tells the server how far each conversation has arrived and was read. Cumulative, so nothing is
 * lost by joining; what was sent on a session that broke is sent again on the next one.
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

  /** Everything up to here has arrived, without a gap. */
  delivered(conversationId: string, sequence: bigint): void {
    raise(this.#pending, conversationId, { delivered: sequence, read: 0n });
    const sent = this.#sent.get(conversationId);
    const throttledMs = sent ? sent.atMs + this.#throttleMs - this.#clock.now() : 0;
    // Never longer than a rest, even if the clock was put back.
    this.#scheduleFlush(Math.max(BATCH_DELAY_MS, Math.min(this.#throttleMs, throttledMs)));
  }

  /** The user has read everything up to here. */
  read(conversationId: string, sequence: bigint): void {
    raise(this.#pending, conversationId, { delivered: 0n, read: sequence });
    this.#scheduleFlush(BATCH_DELAY_MS);
  }

  /** A session is open, whose frames go at the rateLimit. */
  open(rateLimit: RateLimit | undefined): void {
    this.#open = true;
    this.#rateLimit = rateLimit;
    this.#flush(rateLimit);
  }

  /** The session is gone: whether it heard the last acknowledgements is not known. */
  lost(): void {
    this.#open = false;
    this.#stopTimer();
    for (const [id, position] of this.#sent) raise(this.#pending, id, position);
    this.#sent.clear();
  }

  /** Sends all that waits, at once. */
  flush(): void {
    this.#flush(undefined);
  }

  #flush(rateLimit: RateLimit | undefined): void {
    this.#stopTimer();
    while (this.#open && this.#pending.size > 0) {
      const batch = [...this.#pending].slice(0, CURSORS_PER_FRAME);
      const waitMs = rateLimit?.take(frameWeight({ cursors: batch.length })) ?? 0;
      if (waitMs > 0) {
        this.#scheduleFlush(waitMs);
        return;
      }
      for (const [id, position] of batch) {
        this.#pending.delete(id);
        const before = this.#sent.get(id) ?? { delivered: 0n, read: 0n };
        this.#sent.set(id, { ...furthest(before, position), atMs: this.#clock.now() });
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
    const dueMs = this.#clock.now() + inMs;
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
