import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CursorSchema } from "../gen/lucky/message/v1/message_pb.js";
import type { Clock, Timer } from "./clock.ts";
import { type Pace, weightOf } from "./pace.ts";

/** How long acknowledgements are joined before they leave. */
const joinMs = 50;
/** Cursors a frame. */
const perFrame = 200;

interface Position {
  delivered: bigint;
  read: bigint;
}

/**
 * Tells the server how far each conversation has arrived and was read. Cumulative, so nothing is
 * lost by joining; what was told on a session that broke is told again on the next one.
 */
export class Cursors {
  readonly #clock: Clock;
  readonly #write: (cursors: MessageInitShape<typeof CursorSchema>[]) => void;
  #waiting = new Map<string, Position>();
  #told = new Map<string, Position>();
  #timer: Timer | undefined;
  #open = false;
  #pace: Pace | undefined;

  /** `write` sends one acknowledgement frame on the open session. */
  constructor(clock: Clock, write: (cursors: MessageInitShape<typeof CursorSchema>[]) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  /** Everything up to here has arrived, without a gap. */
  delivered(conversationId: string, sequence: bigint): void {
    raise(this.#waiting, conversationId, { delivered: sequence, read: 0n });
    this.#plan(joinMs);
  }

  /** The user has read everything up to here. */
  read(conversationId: string, sequence: bigint): void {
    raise(this.#waiting, conversationId, { delivered: 0n, read: sequence });
    this.#plan(joinMs);
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
    this.#timer?.stop();
    this.#timer = undefined;
    for (const [id, position] of this.#told) raise(this.#waiting, id, position);
    this.#told.clear();
  }

  /** Sends all that waits, at once. */
  flush(): void {
    this.#flush(undefined);
  }

  #flush(pace: Pace | undefined): void {
    this.#timer?.stop();
    this.#timer = undefined;
    while (this.#open && this.#waiting.size > 0) {
      const batch = [...this.#waiting].slice(0, perFrame);
      const waitMs = pace?.take(weightOf({ cursors: batch.length })) ?? 0;
      if (waitMs > 0) {
        this.#plan(waitMs);
        return;
      }
      for (const [id, position] of batch) {
        this.#waiting.delete(id);
        raise(this.#told, id, position);
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
    if (this.#open) this.#timer ??= this.#clock.after(inMs, () => this.#flush(this.#pace));
  }
}

function raise(positions: Map<string, Position>, id: string, to: Position): void {
  const position = positions.get(id) ?? { delivered: 0n, read: 0n };
  if (to.delivered > position.delivered) position.delivered = to.delivered;
  if (to.read > position.read) position.read = to.read;
  positions.set(id, position);
}
