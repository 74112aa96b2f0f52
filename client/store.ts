/** A send that has no result yet. */
export interface StoredSend {
  readonly clientMessageId: string;
  /** "u:<user>" or "c:<conversation>". */
  readonly target: string;
  /** The encoded lucky.message.v1.SendRequest. A retry sends the same bytes. */
  readonly request: Uint8Array;
}

/** Position of a device in the log of a conversation. */
export interface LogPosition {
  /** The device has all entries up to this sequence. */
  readonly sequence: bigint;
  /** Epoch of the log in which it received them; 0: not known. */
  readonly epoch: bigint;
}

/** Messages of a conversation that a device has without a gap, as they were after a sequence. */
export interface MessageRange {
  /** First sequence. */
  readonly low: bigint;
  /** Last sequence. */
  readonly high: bigint;
  /** The device has all changes of these messages up to this sequence. */
  readonly exactTo: bigint;
}

/**
 * The ranges of a conversation when the log was at the position `at`. A range that ended there, or was exact
 * to there, moves on with the position: it is not stored again for each entry.
 */
export interface StoredRanges {
  readonly at: bigint;
  /** In ascending order, without overlaps, at most 100. */
  readonly ranges: readonly MessageRange[];
}

/** The stored state of one user's conversations on a device. */
export interface Stored {
  /** Cursor of the last completed page of Sync; empty before the first. */
  readonly cursor: string;
  /** Whether a Sync was ever completed, up to its last page. */
  readonly synced: boolean;
  /** By conversation id. */
  readonly positions: ReadonlyMap<string, LogPosition>;
  /** By conversation id. */
  readonly ranges: ReadonlyMap<string, StoredRanges>;
  /** Sends without a result, in the order of their calls. */
  readonly sends: readonly StoredSend[];
}

/**
 * Stores the state that a device needs after a restart, for one user. Writes may be asynchronous.
 * When a crash loses positions, their entries are delivered again. When it loses a send, that send
 * never had a result. Methods must not throw.
 */
export interface ClientStore {
  load(): Promise<Stored>;
  saveCursor(cursor: string, synced: boolean): void;
  savePosition(conversationId: string, position: LogPosition): void;
  saveRanges(conversationId: string, ranges: StoredRanges): void;
  putSend(send: StoredSend): void;
  removeSend(clientMessageId: string, target: string): void;
}

/** A store in memory, for tests and for bots that may lose their state. */
export class MemoryStore implements ClientStore {
  #cursor = "";
  #synced = false;
  readonly #positions = new Map<string, LogPosition>();
  readonly #ranges = new Map<string, StoredRanges>();
  readonly #sends = new Map<string, StoredSend>();

  async load(): Promise<Stored> {
    return {
      cursor: this.#cursor,
      synced: this.#synced,
      positions: new Map(this.#positions),
      ranges: new Map(this.#ranges),
      sends: [...this.#sends.values()],
    };
  }

  saveCursor(cursor: string, synced: boolean): void {
    this.#cursor = cursor;
    this.#synced = synced;
  }

  savePosition(conversationId: string, position: LogPosition): void {
    this.#positions.set(conversationId, position);
  }

  saveRanges(conversationId: string, ranges: StoredRanges): void {
    this.#ranges.set(conversationId, ranges);
  }

  putSend(send: StoredSend): void {
    this.#sends.set(`${send.target} ${send.clientMessageId}`, send);
  }

  removeSend(clientMessageId: string, target: string): void {
    this.#sends.delete(`${target} ${clientMessageId}`);
  }
}
