import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CursorSchema } from "../gen/lucky/message/v1/message_pb.js";
import type { Clock, Timer } from "./clock.ts";

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

  /** `write` sends one acknowledgement frame on the open session. */
  constructor(clock: Clock, write: (cursors: MessageInitShape<typeof CursorSchema>[]) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  /** Everything up to here has arrived, without a gap. */
  delivered(conversationId: string, sequence: bigint): void {
    raise(this.#waiting, conversationId, { delivered: sequence, read: 0n });
    this.#plan();
  }

  /** The user has read everything up to here. */
  read(conversationId: string, sequence: bigint): void {
    raise(this.#waiting, conversationId, { delivered: 0n, read: sequence });
    this.#plan();
  }

  /** A session is open. */
  open(): void {
    this.#open = true;
    this.flush();
  }

  /** The session is gone: whether it heard the last acknowledgements is not known. */
  lost(): void {
    this.#open = false;
    for (const [id, position] of this.#told) raise(this.#waiting, id, position);
    this.#told.clear();
  }

  /** Sends what waits, at once. */
  flush(): void {
    this.#timer?.stop();
    this.#timer = undefined;
    if (!this.#open) return;
    const cursors = [...this.#waiting].map(([conversationId, position]) => {
      raise(this.#told, conversationId, position);
      return {
        conversationId,
        deliveredSequence: position.delivered,
        readSequence: position.read,
      };
    });
    this.#waiting.clear();
    for (let at = 0; at < cursors.length; at += perFrame) {
      this.#write(cursors.slice(at, at + perFrame));
    }
  }

  #plan(): void {
    if (this.#open) this.#timer ??= this.#clock.after(joinMs, () => this.flush());
  }
}

function raise(positions: Map<string, Position>, id: string, to: Position): void {
  const position = positions.get(id) ?? { delivered: 0n, read: 0n };
  if (to.delivered > position.delivered) position.delivered = to.delivered;
  if (to.read > position.read) position.read = to.read;
  positions.set(id, position);
}
