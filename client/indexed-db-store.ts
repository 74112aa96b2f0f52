import type { ClientStore, LogPosition, Stored, StoredRanges, StoredSend } from "./store.ts";

/** Version 1 had no ranges. */
const VERSION = 2;
const STATE = "state";
const POSITIONS = "positions";
const RANGES = "ranges";
const SENDS = "sends";
const OBJECT_STORES = [STATE, POSITIONS, RANGES, SENDS];
const SYNC = "sync";

/**
 * A store in the browser's IndexedDB: a device continues after a reload where it stopped. One database
 * per user and device; two open tabs must not share it.
 *
 * Writes are asynchronous, and those of one turn share a transaction. `flush` resolves when they are
 * stored. A write that fails (no space left, storage refused by the user) is reported to `failed`: after
 * a reload its entries are delivered again.
 */
export class IndexedDbStore implements ClientStore {
  readonly #failed: (error: unknown) => void;
  readonly #database: Promise<IDBDatabase>;
  /** Keys of the stored sends. They grow, so that sends stay in the order of their calls. */
  readonly #sendKeys = new Map<string, number>();
  #nextSendKey = 1;
  #writes: ((transaction: IDBTransaction) => void)[] = [];
  #flushing: Promise<void> = Promise.resolve();

  constructor(name: string, options: { readonly failed?: (error: unknown) => void } = {}) {
    this.#failed = options.failed ?? ((error) => console.error("IndexedDB:", error));
    this.#database = this.#open(name);
    this.#database.catch(() => {}); // Each use of it reports the error.
  }

  async load(): Promise<Stored> {
    await this.flush();
    const transaction = (await this.#database).transaction(OBJECT_STORES);
    const [sync, positions, ranges, sends] = await Promise.all([
      resultOf<Pick<Stored, "cursor" | "synced"> | undefined>(
        transaction.objectStore(STATE).get(SYNC),
      ),
      byId<LogPosition>(transaction.objectStore(POSITIONS)),
      byId<StoredRanges>(transaction.objectStore(RANGES)),
      resultOf<StoredSend[]>(transaction.objectStore(SENDS).getAll()),
    ]);
    return {
      cursor: sync?.cursor ?? "",
      synced: sync?.synced ?? false,
      positions,
      ranges,
      sends,
    };
  }

  saveCursor(cursor: string, synced: boolean): void {
    this.#write((transaction) => transaction.objectStore(STATE).put({ cursor, synced }, SYNC));
  }

  savePosition(conversationId: string, { sequence, epoch }: LogPosition): void {
    this.#write((transaction) =>
      transaction.objectStore(POSITIONS).put({ sequence, epoch }, conversationId),
    );
  }

  saveRanges(conversationId: string, { at, ranges }: StoredRanges): void {
    this.#write((transaction) =>
      transaction.objectStore(RANGES).put({ at, ranges: [...ranges] }, conversationId),
    );
  }

  putSend({ clientMessageId, target, request }: StoredSend): void {
    this.#write((transaction) => {
      const id = idOf(clientMessageId, target);
      const key = this.#sendKeys.get(id) ?? this.#nextSendKey++;
      this.#sendKeys.set(id, key);
      transaction.objectStore(SENDS).put({ clientMessageId, target, request }, key);
    });
  }

  removeSend(clientMessageId: string, target: string): void {
    this.#write((transaction) => {
      const id = idOf(clientMessageId, target);
      const key = this.#sendKeys.get(id);
      this.#sendKeys.delete(id);
      if (key !== undefined) transaction.objectStore(SENDS).delete(key);
    });
  }

  /** Resolves when all writes so far are stored or have failed. Never rejects. */
  flush(): Promise<void> {
    return this.#flushing;
  }

  /** Closes the database once all writes are stored. */
  async close(): Promise<void> {
    await this.flush();
    await this.#database.then(
      (database) => database.close(),
      () => {},
    );
  }

  async #open(name: string): Promise<IDBDatabase> {
    const request = indexedDB.open(name, VERSION);
    request.onupgradeneeded = () => {
      const { objectStoreNames } = request.result;
      for (const name of OBJECT_STORES)
        if (!objectStoreNames.contains(name)) request.result.createObjectStore(name);
    };
    const database = await resultOf(request);
    // A later version of the client, in another tab, needs the database.
    database.onversionchange = () => database.close();
    const sends = database.transaction(SENDS).objectStore(SENDS);
    const [keys, values] = await Promise.all([
      resultOf<IDBValidKey[]>(sends.getAllKeys()),
      resultOf<StoredSend[]>(sends.getAll()),
    ]);
    for (const [at, { clientMessageId, target }] of values.entries())
      this.#sendKeys.set(idOf(clientMessageId, target), Number(keys[at]));
    this.#nextSendKey = Number(keys.at(-1) ?? 0) + 1;
    return database;
  }

  #write(write: (transaction: IDBTransaction) => void): void {
    this.#writes.push(write);
    if (this.#writes.length > 1) return;
    this.#flushing = this.#flushing.then(() => this.#writeAll()).catch(this.#failed);
  }

  async #writeAll(): Promise<void> {
    const database = await this.#database.catch((error: unknown) => {
      this.#writes = [];
      throw error;
    });
    const writes = this.#writes;
    this.#writes = [];
    const transaction = database.transaction(OBJECT_STORES, "readwrite");
    for (const write of writes) write(transaction);
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

function idOf(clientMessageId: string, target: string): string {
  return `${target} ${clientMessageId}`;
}

/** The values of a store of conversations, by conversation id. */
async function byId<T>(store: IDBObjectStore): Promise<Map<string, T>> {
  const [ids, values] = await Promise.all([
    resultOf<IDBValidKey[]>(store.getAllKeys()),
    resultOf<T[]>(store.getAll()),
  ]);
  return new Map(ids.map((id, at) => [String(id), values[at]!]));
}

function resultOf<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
