import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import type { Receipt } from "#gen/lucky/message/v1/message_pb.js";
import type { LuckyClient } from "../../client/client.ts";

/** Time-out of a wait for an event, ms. */
const TIMEOUT_MS = 60_000;

/** A client, and what its session told. */
export class Device {
  readonly client: LuckyClient;
  readonly #entries = new Map<string, Entry[]>();
  readonly #receipts: Receipt[] = [];
  #closeCode: number | undefined;
  #wake: () => void = () => {};

  constructor(client: LuckyClient) {
    this.client = client;
    client.on("message", (entry) => {
      const entries = this.#entries.get(entry.conversationId) ?? [];
      this.#entries.set(entry.conversationId, [...entries, entry]);
      this.#wake();
    });
    client.on("receipt", (receipt) => {
      this.#receipts.push(receipt);
      this.#wake();
    });
    client.on("kicked", ({ code }) => {
      this.#closeCode = code;
    });
    client.on("state", () => this.#wake());
  }

  /** The next entry of a conversation. */
  nextEntry(conversationId: string): Promise<Entry> {
    return this.#until("an entry", () => this.#entries.get(conversationId)?.shift());
  }

  /** Resolves when a receipt has arrived. */
  async gets(match: (receipt: Receipt) => boolean): Promise<void> {
    await this.#until("a receipt", () => this.#receipts.find(match));
  }

  /** Resolves when the server has closed the session for good. */
  async closes(code: number): Promise<void> {
    await this.#until("the close", () => (this.client.state.kind === "closed" ? true : undefined));
    if (this.#closeCode !== code)
      throw new Error(`closed with ${this.#closeCode}, expected ${code}`);
  }

  async #until<T>(what: string, look: () => T | undefined): Promise<T> {
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => timeout.reject(new Error(`waited ${TIMEOUT_MS} ms for ${what}`)),
      TIMEOUT_MS,
    );
    try {
      for (;;) {
        const found = look();
        if (found !== undefined) return found;
        const woken = new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        await Promise.race([woken, timeout.promise]);
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
