import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { Conversation } from "../../gen/lucky/message/v1/conversation_pb.js";
import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import type { Timer } from "../clock.ts";
import { LuckyError } from "../error.ts";
import { forEachConcurrently } from "../for-each-concurrently.ts";
import type { Stored } from "../store.ts";
import { ConversationLog, type Released } from "./conversation-log.ts";
import type { ConversationLogsOptions } from "./conversation-logs-options.ts";
import { LogReader } from "./log-reader.ts";
import { Resync } from "./resync.ts";

/**
 * Delay before a gap is fetched, ms: entries overtake each other slightly, so it may close by
 * itself.
 */
const GAP_FETCH_DELAY_MS = 200;
/** At most this many conversations catch up concurrently. */
const CATCH_UP_CONCURRENCY = 4;

/**
 * At most this many unknown conversations are looked up at the same time; beyond it one sync fetches
 * all of them.
 */
const MAX_LOOK_UPS = 4;

/** The logs of all the user's conversations: orders arriving entries and fetches missing ones. */
export class ConversationLogs {
  readonly #options: ConversationLogsOptions;
  readonly #reader: LogReader;
  readonly #logs = new Map<string, ConversationLog>();
  readonly #repairs = new Map<string, Promise<void>>();
  readonly #gaps = new Map<string, Timer>();
  /** Conversations that are looked up. */
  readonly #lookUps = new Set<string>();
  #cursor = "";
  #synced = false;
  #syncRequested = false;
  #syncing: Promise<void> | undefined;
  readonly #resync: Resync;
  #stop = new AbortController();

  constructor(options: ConversationLogsOptions) {
    this.#options = options;
    this.#reader = new LogReader(options);
    this.#resync = new Resync(options, () => this.#syncInBackground());
  }

  /** Restores the state from the store. */
  restore(stored: Stored): void {
    this.#cursor = stored.cursor;
    this.#synced = stored.synced;
    for (const [id, { sequence, epoch }] of stored.positions)
      this.#logs.set(id, new ConversationLog(sequence, epoch));
  }

  /** The sequence up to which the device has all entries; undefined for an unknown conversation. */
  last(conversationId: string): bigint | undefined {
    return this.#logs.get(conversationId)?.last;
  }

  /** Epoch of a conversation's log; 0 when not known. */
  epoch(conversationId: string): bigint {
    return this.#logs.get(conversationId)?.epoch ?? 0n;
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
   * Takes the epoch and the last sequence that another answer names. Returns false when the log had another
   * epoch: it was discarded, and is fetched.
   */
  isOfLog(conversationId: string, epoch: bigint, lastSequence: bigint): boolean {
    const log = this.#logs.get(conversationId);
    if (!log || !this.#enterEpoch(conversationId, log, epoch)) return true;
    log.raiseKnown(lastSequence);
    if (log.behind) this.#repairInBackground(conversationId);
    return false;
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
    this.#lookUps.clear();
    this.#resync.stop();
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
      const page = await this.#reader.changes(this.#cursor, signal);
      await forEachConcurrently(page.conversations, CATCH_UP_CONCURRENCY, (one) =>
        this.#catchUp(one, signal),
      );
      more = page.hasMore;
      retryAfterMs = Number(page.retryAfterMs);
      this.#cursor = page.nextCursor;
      this.#synced ||= !more && retryAfterMs === 0;
      this.#options.store.saveCursor(this.#cursor, this.#synced);
    }
    this.#resync.schedule(retryAfterMs);
    // Conversations created during the first sync are new: they start at their first entry.
    for (const [id, log] of this.#synced ? this.#logs : []) {
      if (log.last === undefined) this.#begin(id, log, 0n);
    }
    await this.#options.makeExact();
  }

  async #catchUp(conversation: Conversation, signal: AbortSignal): Promise<void> {
    const id = conversation.conversationId;
    const log = this.#log(id);
    this.#enterEpoch(id, log, conversation.epoch);
    this.#options.conversation(conversation);
    log.raiseKnown(conversation.lastSequence);
    if (log.last === undefined) this.#begin(id, log, this.#startOf(conversation, log));
    this.#jumpIfFar(id, log, conversation.lastSequence);
    const { lastEntry } = conversation;
    if (lastEntry) this.#offer(lastEntry, this.#options.isOwn(lastEntry));
    if (log.behind) await this.#repair(id, signal);
    if (conversation.deliveredSequence < log.last!) this.#options.arrived(id, log.last!);
  }

  /** The sequence after which the device starts in a conversation that it did not know. */
  #startOf(conversation: Conversation, log: ConversationLog): bigint {
    const earliest = conversation.firstSequence > 0n ? conversation.firstSequence - 1n : 0n;
    if (this.#synced || this.#options.history === "all") return earliest;
    const lowest = log.lowestBuffered;
    let start = conversation.deliveredSequence;
    // Entries pushed to this session count as new, even if another device received them first.
    if (lowest !== undefined && lowest - 1n < start) start = lowest - 1n;
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
    this.#release(id, log, log.last, log.offer(entry, own));
    this.#beginIfNew(id, log);
    this.#watchGap(id, log);
  }

  /**
   * After the first sync an unknown conversation is new: its log begins at the first entry that the user
   * may see. The server says which one that is, unless the first entry of all is here.
   */
  #beginIfNew(id: string, log: ConversationLog): void {
    if (log.last !== undefined || !this.#synced || this.#lookUps.has(id)) return;
    const full = this.#lookUps.size >= MAX_LOOK_UPS;
    if (full || log.lowestBuffered === 1n) this.#begin(id, log, 0n);
    if (full) this.#syncInBackground();
    else void this.#lookUp(id, log, this.#stop.signal);
  }

  /** Fetches an unknown conversation: its name, its first entry, its epoch. */
  async #lookUp(id: string, log: ConversationLog, signal: AbortSignal): Promise<void> {
    this.#lookUps.add(id);
    try {
      await this.#catchUp(await this.#reader.conversation(id, signal), signal);
    } catch {
      if (signal.aborted) return;
      // The server does not know the method, or the conversation.
      if (log.last === undefined) this.#begin(id, log, 0n);
      this.#syncInBackground();
    } finally {
      if (!signal.aborted) this.#lookUps.delete(id);
    }
  }

  /** Syncs without a caller: callers of `sync` get the error. */
  #syncInBackground(): void {
    this.sync().catch(() => {});
  }

  #begin(id: string, log: ConversationLog, last: bigint): void {
    this.#release(id, log, last, log.begin(last));
    this.#save(id, log);
    this.#reportArrived(id);
    this.#watchGap(id, log);
  }

  /** Passes on entries that are in order. `before`: the position before them. */
  #release(
    id: string,
    log: ConversationLog,
    before: bigint | undefined,
    released: readonly Released[],
  ): void {
    if (released.length === 0) return;
    for (const { entry, own } of released) if (!own) this.#options.message(entry);
    this.#options.ranges.moved(id, before!, log.last!);
    this.#save(id, log);
  }

  /**
   * Skips entries when there are more than the application wants: continues after `to`, the last sequence that
   * the server named.
   */
  #jumpIfFar(id: string, log: ConversationLog, to: bigint): void {
    const { jumpEntries = Number.POSITIVE_INFINITY, jumped, ranges, makeExact } = this.#options;
    const after = log.last!;
    if (Number(to - after) <= jumpEntries) return;
    const released = log.jump(to);
    jumped({ conversationId: id, after, to });
    ranges.jumped(id, to);
    this.#release(id, log, to, released);
    this.#save(id, log);
    // A sync makes the ranges of all conversations exact at its end.
    if (!this.#syncing) makeExact().catch(() => {});
  }

  #save(id: string, { last, epoch }: ConversationLog): void {
    if (last !== undefined) this.#options.store.savePosition(id, { sequence: last, epoch });
  }

  /** Takes the epoch that the server names. Returns whether the log was reset. */
  #enterEpoch(id: string, log: ConversationLog, epoch: bigint): boolean {
    const entered = log.enterEpoch(epoch);
    if (entered === "reset") this.#options.ranges.reset(id);
    if (entered !== "same") this.#save(id, log);
    if (entered === "reset") this.#options.reset(id);
    return entered === "reset";
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
      const page = await this.#reader.entriesAfter(id, log.last!, signal);
      if (this.#enterEpoch(id, log, page.epoch)) {
        log.raiseKnown(page.lastSequence);
        continue;
      }
      this.#jumpIfFar(id, log, page.lastSequence);
      this.#release(id, log, log.last, log.offerPage(page.entries, this.#options.isOwn));
      log.raiseKnown(page.lastSequence);
      // Guards against a race: newer entries may have become known during the call.
      if (page.entries.length === 0 && log.known === heard) log.end();
      this.#reportArrived(id);
    }
  }
}
