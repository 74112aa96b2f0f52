import type { Client } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type {
  Conversation,
  ConversationService,
} from "../../gen/lucky/message/v1/conversation_pb.js";
import type {
  ListEntriesResponse,
  MessageService,
  SyncResponse,
} from "../../gen/lucky/message/v1/message_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause } from "../clock.ts";
import { LuckyError } from "../error.ts";

const ENTRIES_PER_PAGE = 500;
const CONVERSATIONS_PER_PAGE = 200;

export type LogService = Pick<Client<typeof MessageService>, "sync" | "listEntries"> &
  Pick<Client<typeof ConversationService>, "getConversation">;

/** Reads logs from the server. Its calls are retried until they succeed, fail finally, or are aborted. */
export class LogReader {
  readonly #clock: Clock;
  readonly #messages: LogService;

  constructor({ clock, messages }: { readonly clock: Clock; readonly messages: LogService }) {
    this.#clock = clock;
    this.#messages = messages;
  }

  /** A page of Sync. */
  changes(cursor: string, signal: AbortSignal): Promise<SyncResponse> {
    const request = { cursor, pageSize: CONVERSATIONS_PER_PAGE };
    return this.#withRetries(signal, () => this.#messages.sync(request, { signal }));
  }

  async conversation(id: string, signal: AbortSignal): Promise<Conversation> {
    const target = { case: "conversationId", value: id } as const;
    const call = () => this.#messages.getConversation({ target }, { signal });
    return (await this.#withRetries(signal, call)).conversation!;
  }

  /** The page of entries after `last`; empty when the user may not read the conversation. */
  async entriesAfter(
    conversationId: string,
    last: bigint,
    signal: AbortSignal,
  ): Promise<Pick<ListEntriesResponse, "entries" | "lastSequence" | "epoch">> {
    const position = { case: "afterSequence", value: last } as const;
    const request = { conversationId, position, pageSize: ENTRIES_PER_PAGE };
    try {
      return await this.#withRetries(signal, () => this.#messages.listEntries(request, { signal }));
    } catch (error) {
      const { reason } = LuckyError.from(error);
      if (reason !== ErrorReason.CONVERSATION_NOT_FOUND) throw error;
      return { entries: [], lastSequence: last, epoch: 0n };
    }
  }

  async #withRetries<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    const backoff = new Backoff({ firstMs: 500, longestMs: 30_000 });
    for (;;) {
      try {
        const answer = await call();
        signal.throwIfAborted();
        return answer;
      } catch (error) {
        const failure = LuckyError.from(error);
        // A read may be retried after a fault of the server, too.
        const retryable = failure.retryable || failure.reason === ErrorReason.INTERNAL;
        if (signal.aborted || !retryable) throw failure;
        await pause(this.#clock, backoff.next(failure.retryAfterMs), signal);
        if (signal.aborted) throw failure;
      }
    }
  }
}
