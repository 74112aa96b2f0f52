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
import type { Clock } from "../clock.ts";
import { LuckyError } from "../error.ts";
import { withRetries } from "../rpc/retries.ts";

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
    return withRetries(this.#clock, signal, () => this.#messages.sync(request, { signal }));
  }

  async conversation(id: string, signal: AbortSignal): Promise<Conversation> {
    const target = { case: "conversationId", value: id } as const;
    const call = () => this.#messages.getConversation({ target }, { signal });
    return (await withRetries(this.#clock, signal, call)).conversation!;
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
      return await withRetries(this.#clock, signal, () =>
        this.#messages.listEntries(request, { signal }),
      );
    } catch (error) {
      const { reason } = LuckyError.from(error);
      if (reason !== ErrorReason.CONVERSATION_NOT_FOUND) throw error;
      return { entries: [], lastSequence: last, epoch: 0n };
    }
  }
}
