/** A send that has no result yet. */
export interface StoredSend {
  readonly clientMessageId: string;
  /** "u:<user>" or "c:<conversation>". */
  readonly target: string;
  /** The encoded lucky.message.v1.SendRequest. A retry sends the same bytes. */
  readonly request: Uint8Array;
}

/** The stored state of one user's conversations on a device. */
export interface Stored {
  /** Cursor of the last completed page of Sync; empty before the first. */
  readonly cursor: string;
  /** Whether a Sync was ever completed, up to its last page. */
  readonly synced: boolean;
  /** Per conversation, the sequence up to which the device has all entries. */
  readonly sequences: ReadonlyMap<string, bigint>;
  /** Sends without a result, in the order of their calls. */
  readonly sends: readonly StoredSend[];
}

/**
 * Stores the state that a device needs after a restart, for one user. Writes may be asynchronous.
 * When a crash loses sequences, their entries are delivered again. When it loses a send, that send
 * never had a result. Methods must not throw.
 */
export interface ClientStore {
  load(): Promise<Stored>;
  saveCursor(cursor: string, synced: boolean): void;
  saveSequence(conversationId: string, sequence: bigint): void;
  putSend(send: StoredSend): void;
  removeSend(clientMessageId: string, target: string): void;
}

/** A store in memory, for tests and for bots that may lose their state. */
export class MemoryStore implements ClientStore {
  #cursor = "";
  #synced = false;
  readonly #sequences = new Map<string, bigint>();
  readonly #sends = new Map<string, StoredSend>();

  async load(): Promise<Stored> {
    return {
      cursor: this.#cursor,
      synced: this.#synced,
      sequences: new Map(this.#sequences),
      sends: [...this.#sends.values()],
    };
  }

  saveCursor(cursor: string, synced: boolean): void {
    this.#cursor = cursor;
    this.#synced = synced;
  }

  saveSequence(conversationId: string, sequence: bigint): void {
    this.#sequences.set(conversationId, sequence);
  }

  putSend(send: StoredSend): void {
    this.#sends.set(`${send.target} ${send.clientMessageId}`, send);
  }

  removeSend(clientMessageId: string, target: string): void {
    this.#sends.delete(`${target} ${clientMessageId}`);
  }
}
