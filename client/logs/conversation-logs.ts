import type { Client } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { Conversation } from "../../gen/lucky/message/v1/conversation_pb.js";
import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import type { MessageService } from "../../gen/lucky/message/v1/message_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause, type Timer } from "../clock.ts";
import { LuckyError } from "../error.ts";
import type { ClientStore, Stored } from "../store.ts";
import { ConversationLog, type Released } from "./conversation-log.ts";

/**
 * Delay before a gap is fetched, ms: entries overtake each other slightly, so it may close by
 * itself.
 */
const GAP_FETCH_DELAY_MS = 200;
const ENTRIES_PER_PAGE = 500;
const CONVERSATIONS_PER_PAGE = 200;
/** At most this many conversations catch up concurrently. */
const CATCH_UP_CONCURRENCY = 4;
/** Largest random part of the delay before an incomplete sync is repeated, ms. */
const LONGEST_RESYNC_MS = 60_000;

/** Reasons of errors that a retry cannot resolve. */
const PERMANENT_REASONS: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.INVALID_ARGUMENT,
  ErrorReason.TOKEN_INVALID,
  ErrorReason.TOKEN_REVOKED,
  ErrorReason.REFRESH_TOKEN_INVALID,
  ErrorReason.PERMISSION_DENIED,
  ErrorReason.CONVERSATION_NOT_FOUND,
  ErrorReason.NOT_A_MEMBER,
  ErrorReason.METHOD_NOT_FOUND,
]);

export interface ConversationLogsOptions {
  readonly clock: Clock;
  readonly messages: Pick<Client<typeof MessageService>, "sync" | "listEntries">;
  readonly store: ClientStore;
  /**
   * Start position of a device without a store: after the entries that the user's other devices
   * received, or at the first entry.
   */
  readonly history: "none" | "all";
  /** Whether the entry is a send of this client that has no result yet. */
  readonly isOwn: (entry: Entry) => boolean;
  /**
   * Called with the next entry of a conversation, in order, once. Not called for this client's
   * sends.
   */
  readonly message: (entry: Entry) => void;
  /** Called with a conversation that is new or changed. */
  readonly conversation: (conversation: Conversation) => void;
  /** Called after entries arrived: the device has all entries up to `last`. */
  readonly arrived: (conversationId: string, last: bigint) => void;
  /** Random numbers from 0 to below 1, for the back-off of incomplete syncs. */
  readonly random?: () => number;
}

/** The logs of all the user's conversations: orders arriving entries and fetches missing ones. */
export class ConversationLogs {
  readonly #options: ConversationLogsOptions;
  readonly #logs = new Map<string, ConversationLog>();
  readonly #repairs = new Map<string, Promise<void>>();
  readonly #gaps = new Map<string, Timer>();
  #cursor = "";
  #synced = false;
  #syncRequested = false;
  #syncing: Promise<void> | undefined;
  /** Timer of the next sync, for conversations that the server could not read. */
  #resync: Timer | undefined;
  /** Back-off of that sync; absent after a complete one. */
  #resyncBackoff: Backoff | undefined;
  #stop = new AbortController();

  constructor(options: ConversationLogsOptions) {
    this.#options = options;
  }

  /** Restores the state from the store. */
  restore(stored: Stored): void {
    this.#cursor = stored.cursor;
    this.#synced = stored.synced;
    for (const [id, last] of stored.sequences) this.#logs.set(id, new ConversationLog(last));
  }

  /** The sequence up to which the device has all entries; undefined for an unknown conversation. */
  last(conversationId: string): bigint | undefined {
    return this.#logs.get(conversationId)?.last;
  }

  /** Takes entries that the server pushed. */
  deliver(entries: readonly Entry[]): void {
    const touched = new Set<string>();
    for (const entry of entries) {
      this.#offer(entry, this.#options.isOwn(entry));
      touched.add(entry.conversationId);
    }
    for (const id of touched) this.#reportArrived(id);
  }

  /** Takes an accepted send of this client. */
  sent(entry: Entry): void {
    this.#offer(entry, true);
  }

  /** Fetches the missing entries of a conversation, without the gap delay. */
  syncRequired(conversationId: string, lastSequence: bigint): void {
    const log = this.#log(conversationId);
    log.raiseKnown(lastSequence);
    this.#beginIfNew(conversationId, log);
    if (log.behind) this.#repairInBackground(conversationId);
    else this.#reportArrived(conversationId);
  }

  /**
   * Catches up with all changes. Concurrent calls share one run, which resolves when all of them
   * are served. Rejects when the client stops or the login is over.
   */
  sync(): Promise<void> {
    this.#syncRequested = true;
    if (!this.#syncing) {
      const syncing = this.#syncWhileRequested(this.#stop.signal).finally(() => {
        if (this.#syncing === syncing) this.#syncing = undefined;
      });
      this.#syncing = syncing;
    }
    return this.#syncing;
  }

  /** Stops fetching. The logs stay; `sync` restarts it. */
  stop(): void {
    this.#stop.abort(new LuckyError(ErrorReason.UNAVAILABLE, "the client was closed"));
    this.#stop = new AbortController();
    this.#syncRequested = false;
    this.#syncing = undefined;
    this.#repairs.clear();
    this.#resync?.stop();
    for (const timer of this.#gaps.values()) timer.stop();
    this.#gaps.clear();
  }

  async #syncWhileRequested(signal: AbortSignal): Promise<void> {
    while (this.#syncRequested) {
      this.#syncRequested = false;
      await this.#syncOnce(signal);
    }
  }

  async #syncOnce(signal: AbortSignal): Promise<void> {
    let retryAfterMs = 0;
    for (let more = true; more; ) {
      const request = { cursor: this.#cursor, pageSize: CONVERSATIONS_PER_PAGE };
      const page = await this.#withRetries(signal, () =>
        this.#options.messages.sync(request, { signal }),
      );
      await forEachConcurrently(page.conversations, CATCH_UP_CONCURRENCY, (one) =>
        this.#catchUp(one, signal),
      );
      more = page.hasMore;
      retryAfterMs = Number(page.retryAfterMs);
      this.#cursor = page.nextCursor;
      this.#synced ||= !more && retryAfterMs === 0;
      this.#options.store.saveCursor(this.#cursor, this.#synced);
    }
    this.#scheduleResync(retryAfterMs);
    if (!this.#synced) return;
    // Conversations created during the first sync are new: they start at their first entry.
    for (const [id, log] of this.#logs) {
      if (log.last === undefined) this.#begin(id, log, 0n);
    }
  }

  /**
   * Schedules the next sync when the server could not read some conversations. A random, growing delay
   * is added to the server's `retryAfterMs`: all devices of a database that is away repeat their syncs.
   */
  #scheduleResync(retryAfterMs: number): void {
    this.#resync?.stop();
    if (retryAfterMs === 0) {
      this.#resyncBackoff = undefined;
      return;
    }
    const { clock, random } = this.#options;
    const longestMs = LONGEST_RESYNC_MS;
    this.#resyncBackoff ??= new Backoff({ firstMs: retryAfterMs, longestMs, random });
    const delayMs = retryAfterMs + this.#resyncBackoff.next();
    this.#resync = clock.after(delayMs, () => this.#syncInBackground());
  }

  async #catchUp(conversation: Conversation, signal: AbortSignal): Promise<void> {
    const id = conversation.conversationId;
    const log = this.#log(id);
    this.#options.conversation(conversation);
    log.raiseKnown(conversation.lastSequence);
    if (log.last === undefined) this.#begin(id, log, this.#startOf(conversation, log));
    const { lastEntry } = conversation;
    if (lastEntry) this.#offer(lastEntry, this.#options.isOwn(lastEntry));
    if (log.behind) await this.#repair(id, signal);
    if (conversation.deliveredSequence < log.last!) this.#options.arrived(id, log.last!);
  }

  /** The sequence after which the device starts in a conversation that it did not know. */
  #startOf(conversation: Conversation, log: ConversationLog): bigint {
    if (this.#synced || this.#options.history === "all") return 0n;
    const lowest = log.lowestBuffered;
    let start = conversation.deliveredSequence;
    // Entries pushed to this session count as new, even if another device received them first.
    if (lowest !== undefined && lowest - 1n < start) start = lowest - 1n;
    const earliest = conversation.firstSequence - 1n;
    return start > earliest ? start : earliest;
  }

  #log(id: string): ConversationLog {
    let log = this.#logs.get(id);
    if (!log) {
      log = new ConversationLog();
      this.#logs.set(id, log);
    }
    return log;
  }

  #offer(entry: Entry, own: boolean): void {
    const id = entry.conversationId;
    const log = this.#log(id);
    this.#release(id, log, log.offer(entry, own));
    this.#beginIfNew(id, log);
    this.#watchGap(id, log);
  }

  /** After the first sync an unknown conversation is new: its log begins at the first entry. */
  #beginIfNew(id: string, log: ConversationLog): void {
    if (log.last !== undefined || !this.#synced) return;
    this.#begin(id, log, 0n);
    this.#syncInBackground(); // Fetches its name and members.
  }

  /** Syncs without a caller: callers of `sync` get the error. */
  #syncInBackground(): void {
    this.sync().catch(() => {});
  }

  #begin(id: string, log: ConversationLog, last: bigint): void {
    this.#release(id, log, log.begin(last));
    this.#options.store.saveSequence(id, log.last!);
    this.#reportArrived(id);
    this.#watchGap(id, log);
  }

  #release(id: string, log: ConversationLog, released: readonly Released[]): void {
    if (released.length === 0) return;
    for (const { entry, own } of released) if (!own) this.#options.message(entry);
    this.#options.store.saveSequence(id, log.last!);
  }

  #reportArrived(id: string): void {
    const last = this.#logs.get(id)?.last;
    if (last !== undefined && last > 0n) this.#options.arrived(id, last);
  }

  #watchGap(id: string, log: ConversationLog): void {
    if (!log.behind || this.#gaps.has(id) || this.#repairs.has(id)) return;
    const timer = this.#options.clock.after(GAP_FETCH_DELAY_MS, () => {
      this.#gaps.delete(id);
      if (log.behind) this.#repairInBackground(id);
    });
    this.#gaps.set(id, timer);
  }

  /** Repairs without a caller: a permanent error ends it, and the next sync reports that error. */
  #repairInBackground(id: string): void {
    this.#repair(id, this.#stop.signal).catch(() => {});
  }

  #repair(id: string, signal: AbortSignal): Promise<void> {
    const running = this.#repairs.get(id);
    if (running) return running;
    const repair = this.#fetch(id, this.#log(id), signal).finally(() => {
      if (this.#repairs.get(id) === repair) this.#repairs.delete(id);
    });
    this.#repairs.set(id, repair);
    return repair;
  }

  async #fetch(id: string, log: ConversationLog, signal: AbortSignal): Promise<void> {
    while (log.behind) {
      const heard = log.known;
      const page = await this.#listAfter(id, log.last!, signal);
      this.#release(id, log, log.offerPage(page.entries, this.#options.isOwn));
      log.raiseKnown(page.lastSequence);
      // Guards against a race: newer entries may have become known during the call.
      if (page.entries.length === 0 && log.known === heard) log.end();
      this.#reportArrived(id);
    }
  }

  async #listAfter(conversationId: string, last: bigint, signal: AbortSignal) {
    const position = { case: "afterSequence", value: last } as const;
    const request = { conversationId, position, pageSize: ENTRIES_PER_PAGE };
    try {
      return await this.#withRetries(signal, () =>
        this.#options.messages.listEntries(request, { signal }),
      );
    } catch (error) {
      const { reason } = LuckyError.from(error);
      if (reason !== ErrorReason.CONVERSATION_NOT_FOUND) throw error;
      return { entries: [], lastSequence: last };
    }
  }

  /** Retries a call with back-off until it succeeds, fails permanently, or the signal aborts. */
  async #withRetries<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    const backoff = new Backoff({ firstMs: 500, longestMs: 30_000 });
    for (;;) {
      try {
        const answer = await call();
        signal.throwIfAborted();
        return answer;
      } catch (error) {
        const failure = LuckyError.from(error);
        if (signal.aborted || PERMANENT_REASONS.has(failure.reason)) throw failure;
        await pause(this.#options.clock, backoff.next(failure.retryAfterMs), signal);
        if (signal.aborted) throw failure;
      }
    }
  }
}

async function forEachConcurrently<T>(
  items: readonly T[],
  concurrency: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const remaining = items.values();
  const worker = async () => {
    for (const item of remaining) await work(item);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}
