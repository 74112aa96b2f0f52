/** A send that has no result yet. */
export interface StoredSend {
  readonly clientMessageId: string;
  /** "u:<user>" or "c:<conversation>". */
  readonly target: string;
  /** The encoded lucky.message.v1.SendRequest. A repetition sends these bytes again. */
  readonly request: Uint8Array;
}

/** What a device keeps of one user's conversations. */
export interface Stored {
  /** Cursor of the last Sync that was carried out; empty before the first. */
  readonly cursor: string;
  /** Whether the first Sync was ever carried out to its end. */
  readonly synced: boolean;
  /** Per conversation, the sequence up to which the device has everything. */
  readonly sequences: ReadonlyMap<string, bigint>;
  /** In the order in which they were made. */
  readonly sends: readonly StoredSend[];
}

/**
 * Keeps what a device must know after a restart, for one user. Writing behind is fine: what a crash
 * loses of the sequences is delivered again, what it loses of the sends was never answered. Methods
 * must not throw.
 */
export interface ClientStore {
  load(): Promise<Stored>;
  saveCursor(cursor: string, synced: boolean): void;
  saveSequence(conversationId: string, sequence: bigint): void;
  putSend(send: StoredSend): void;
  removeSend(clientMessageId: string, target: string): void;
}

/** Keeps it in memory: for bots that may forget, and for tests. */
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
