import type { Client } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import type {
  HistoryService,
  ListChangedMessagesResponse,
} from "../../gen/lucky/message/v1/history_pb.js";
import type { Clock } from "../clock.ts";
import { LuckyError } from "../error.ts";
import { forEachConcurrently } from "../for-each-concurrently.ts";
import { withRetries } from "../rpc/retries.ts";
import type { MessageRange } from "../store.ts";
import type { MessagePage } from "./conversation-messages.ts";
import type { MessageRanges } from "./message-ranges.ts";
import { later } from "./ranges.ts";

/** `before_sequence` for the newest messages: greater than every sequence. */
const END = 9_007_199_254_740_991n;
const CHANGED_PER_PAGE = 100;
/** At most this many conversations are made exact concurrently. */
const CONCURRENCY = 4;

export interface MessageHistoryOptions {
  readonly clock: Clock;
  readonly history: Pick<Client<typeof HistoryService>, "listMessages" | "listChangedMessages">;
  readonly ranges: MessageRanges;
  /** Position of the log of a conversation; undefined while it has not begun. */
  readonly position: (conversationId: string) => bigint | undefined;
  /**
   * Takes the epoch and the last sequence that an answer names. Returns whether the answer belongs to the log
   * that the device holds.
   */
  readonly isOfLog: (conversationId: string, epoch: bigint, lastSequence: bigint) => boolean;
  /** Called with each message that was changed by entries that the log skipped. */
  readonly changed: (message: Entry) => void;
}

/**
 * Reads messages of the past: pages on demand, and the changes of older messages that the log skipped. Keeps
 * the ranges of what the application got.
 */
export class MessageHistory {
  readonly #options: MessageHistoryOptions;
  readonly #running = new Map<string, Promise<void>>();
  #stop = new AbortController();

  constructor(options: MessageHistoryOptions) {
    this.#options = options;
  }

  /**
   * Reads the page of messages before a sequence, and records its range. Changes that arrived during the call
   * follow as `changed`, like those that the log skipped. Throws a LuckyError.
   */
  async before(conversationId: string, before = END, pageSize = 50): Promise<MessagePage> {
    const { history, ranges, position, isOfLog } = this.#options;
    // All entries up to the position were in the log before the call: the page contains their changes.
    const heldTo = position(conversationId);
    const request = { conversationId, pageSize };
    const answer = await history
      .listMessages({ ...request, position: { case: "beforeSequence", value: before } })
      .catch((error) => Promise.reject(LuckyError.from(error)));
    const { messages, olderBeforeSequence, newerAfterSequence, lastSequence, epoch } = answer;
    const low = later(olderBeforeSequence, 1n);
    // `lastSequence` may be newer than the first messages that the server has read for the page.
    const exactTo = later(newerAfterSequence, heldTo ?? 0n);
    const page = { messages, low, high: newerAfterSequence, exactTo };
    if (!isOfLog(conversationId, epoch, lastSequence) || heldTo === undefined) return page;
    ranges.read(conversationId, position(conversationId)!, page);
    this.makeExactInBackground(conversationId);
    return page;
  }

  /** Makes the ranges of all conversations exact. Rejects when a call fails finally, or `stop` is called. */
  makeAllExact(): Promise<void> {
    const { ranges } = this.#options;
    const ids = ranges.conversationIds.filter((id) => this.#inexact(id).length > 0);
    return forEachConcurrently(ids, CONCURRENCY, (id) => this.#makeExact(id));
  }

  /** Makes the ranges of a conversation exact: the next `makeAllExact` repeats what fails. */
  makeExactInBackground(conversationId: string): void {
    if (this.#inexact(conversationId).length > 0) this.#makeExact(conversationId).catch(() => {});
  }

  /** Stops making ranges exact. `makeAllExact` continues. */
  stop(): void {
    this.#stop.abort(new LuckyError(ErrorReason.UNAVAILABLE, "the client was closed"));
    this.#stop = new AbortController();
    this.#running.clear();
  }

  #inexact(id: string): MessageRange[] {
    const { ranges, position } = this.#options;
    const last = position(id) ?? 0n;
    return ranges.of(id).filter(({ exactTo }) => exactTo < last);
  }

  #makeExact(id: string): Promise<void> {
    const running = this.#running.get(id);
    if (running) return running;
    const run = this.#readChanged(id, this.#stop.signal).finally(() => {
      if (this.#running.get(id) === run) this.#running.delete(id);
    });
    this.#running.set(id, run);
    return run;
  }

  async #readChanged(id: string, signal: AbortSignal): Promise<void> {
    const { position } = this.#options;
    let inexact = this.#inexact(id);
    // The log may jump again during the calls.
    for (let heldTo = -1n; inexact.length > 0 && position(id)! > heldTo; ) {
      heldTo = position(id)!;
      for (const range of inexact) {
        if (!(await this.#readChangedOf(id, range, signal))) return;
      }
      inexact = this.#inexact(id);
    }
  }

  /** Returns whether the range is exact now; false: the log was reset, or may not be read. */
  async #readChangedOf(id: string, range: MessageRange, signal: AbortSignal): Promise<boolean> {
    const { ranges, position, isOfLog, changed } = this.#options;
    const heldTo = position(id)!;
    for (let pageToken = ""; ; ) {
      const page = await this.#changedPage(id, { range, pageToken }, signal);
      if (!page || !isOfLog(id, page.epoch, page.lastSequence)) return false;
      for (const message of page.messages) changed(message);
      pageToken = page.nextPageToken;
      if (pageToken !== "") continue;
      // The log brought the changes since the calls began, unless it jumped.
      const isExact = page.lastSequence >= heldTo && ranges.hasAllSince(id, heldTo);
      const exactTo = isExact ? position(id)! : page.lastSequence;
      ranges.madeExact(id, position(id)!, { range: { ...range, exactTo }, after: range.exactTo });
      return true;
    }
  }

  /** Undefined when the user may not read the conversation, or the server does not know the method. */
  async #changedPage(
    conversationId: string,
    { range, pageToken }: { range: MessageRange; pageToken: string },
    signal: AbortSignal,
  ): Promise<ListChangedMessagesResponse | undefined> {
    const { clock, history } = this.#options;
    const request = {
      conversationId,
      afterSequence: range.exactTo,
      fromSequence: range.low,
      toSequence: range.high,
      pageSize: CHANGED_PER_PAGE,
      pageToken,
    };
    const call = () => history.listChangedMessages(request, { signal });
    try {
      return await withRetries(clock, signal, call);
    } catch (error) {
      const { reason } = LuckyError.from(error);
      const isFinal =
        reason === ErrorReason.CONVERSATION_NOT_FOUND || reason === ErrorReason.METHOD_NOT_FOUND;
      if (!isFinal) throw error;
      return undefined;
    }
  }
}
