import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CursorSchema } from "../../gen/lucky/message/v1/message_pb.js";
import type { Clock, Timer } from "../clock.ts";
import { type Pace, weightOf } from "../pace.ts";

/** How long acknowledgements are joined before they leave. */
const JOIN_MS = 50;
/**
 * The least time between two acknowledgements of what arrived in one conversation: the first after a
 * silence is quick, so that the sender sees its tick; in a busy one they are cumulative anyway, and
 * a thousand members who each acknowledged every entry would cost more than the entries. Not the same
 * for every device, or those of a large group would all speak at once.
 */
const LEAST_REST_MS = 400;
const MOST_REST_MS = 600;
/** Cursors a frame. */
const PER_FRAME = 200;

interface Position {
  delivered: bigint;
  read: bigint;
}

/** What was told last on this session, and when. */
interface Told extends Position {
  atMs: number;
}

/**
 * Tells the server how far each conversation has arrived and was read. Cumulative, so nothing is
 * lost by joining; what was told on a session that broke is told again on the next one.
 */
export class Cursors {
  readonly #clock: Clock;
  readonly #write: (cursors: MessageInitShape<typeof CursorSchema>[]) => void;
  readonly #restMs: number;
  #waiting = new Map<string, Position>();
  #told = new Map<string, Told>();
  #timer: { readonly native: Timer; readonly dueMs: number } | undefined;
  #open = false;
  #pace: Pace | undefined;

  /** `write` sends one acknowledgement frame on the open session. */
  constructor(
    clock: Clock,
    write: (cursors: MessageInitShape<typeof CursorSchema>[]) => void,
    random: () => number = Math.random,
  ) {
    this.#clock = clock;
    this.#write = write;
    this.#restMs = LEAST_REST_MS + random() * (MOST_REST_MS - LEAST_REST_MS);
  }

  /** Everything up to here has arrived, without a gap. */
  delivered(conversationId: string, sequence: bigint): void {
    raise(this.#waiting, conversationId, { delivered: sequence, read: 0n });
    const told = this.#told.get(conversationId);
    const restsForMs = told ? told.atMs + this.#restMs - this.#clock.now() : 0;
    // Never longer than a rest, even if the clock was put back.
    this.#plan(Math.max(JOIN_MS, Math.min(this.#restMs, restsForMs)));
  }

  /** The user has read everything up to here. */
  read(conversationId: string, sequence: bigint): void {
    raise(this.#waiting, conversationId, { delivered: 0n, read: sequence });
    this.#plan(JOIN_MS);
  }

  /** A session is open, whose frames go at the pace. */
  open(pace: Pace | undefined): void {
    this.#open = true;
    this.#pace = pace;
    this.#flush(pace);
  }

  /** The session is gone: whether it heard the last acknowledgements is not known. */
  lost(): void {
    this.#open = false;
    this.#stopTimer();
    for (const [id, position] of this.#told) raise(this.#waiting, id, position);
    this.#told.clear();
  }

  /** Sends all that waits, at once. */
  flush(): void {
    this.#flush(undefined);
  }

  #flush(pace: Pace | undefined): void {
    this.#stopTimer();
    while (this.#open && this.#waiting.size > 0) {
      const batch = [...this.#waiting].slice(0, PER_FRAME);
      const waitMs = pace?.take(weightOf({ cursors: batch.length })) ?? 0;
      if (waitMs > 0) {
        this.#plan(waitMs);
        return;
      }
      for (const [id, position] of batch) {
        this.#waiting.delete(id);
        const before = this.#told.get(id) ?? { delivered: 0n, read: 0n };
        this.#told.set(id, { ...furthest(before, position), atMs: this.#clock.now() });
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

  #plan(inMs: number): void {
    if (!this.#open) return;
    const dueMs = this.#clock.now() + inMs;
    if (this.#timer && this.#timer.dueMs <= dueMs) return;
    this.#stopTimer();
    this.#timer = { native: this.#clock.after(inMs, () => this.#flush(this.#pace)), dueMs };
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
