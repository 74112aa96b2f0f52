import type { Conversation, Conversations } from "../conversations/conversations.ts";
import type { Users } from "../conversations/users.ts";
import type { Database } from "../log/database.ts";
import { type Logs, moving } from "../log/logs.ts";
import { type Denials, REPLY_INVALID, REPLY_UNCHECKED, UNCHECKED } from "./denials.ts";
import { findDuplicates } from "./duplicates.ts";
import type { Outcome } from "./outcome.ts";
import type { QueuedSend } from "./queued-send.ts";
import { checkReplies } from "./replies.ts";

interface RecheckOptions {
  readonly db: Database;
  readonly logs: Pick<Logs, "peekConversation" | "spread">;
  readonly conversations: Conversations;
  readonly users: Pick<Users, "checkExisting">;
  readonly denials: Denials;
}

/** The results of a re-check of the sends of a batch. */
export interface BatchActions {
  readonly answer: (send: QueuedSend, outcome: Outcome) => void;
  /** Puts sends back into the queue; they and their conversations wait until the promise resolves. */
  readonly hold: (sends: readonly QueuedSend[], until: Promise<void>) => void;
  /** Fails all sends of conversations. */
  readonly fail: (errors: ReadonlyMap<string, unknown>) => void;
}

/** The conversation that a decision is based on; undefined when there is none. */
type ConversationOf = (conversationId: string) => Conversation | undefined;

/** Maximum waits of a send for the state of the other user; then it is refused with OVERLOADED. */
const MAX_CHECKS = 3;

/**
 * Re-checks sends that the caches deny: the cached membership may be stale, a mentioned user may not be
 * cached, the state of the other user may be unknown, and the message to reply to was not looked up yet.
 */
export class Rechecks {
  readonly #options: RecheckOptions;

  constructor(options: RecheckOptions) {
    this.#options = options;
  }

  /**
   * Refuses the sends that are still denied, except duplicates, which keep their first result. Holds back
   * the sends whose other user must be looked up. All others may be appended, also those that waited only
   * because an earlier send of their sender is denied. Throws UNAVAILABLE.
   */
  async run(denied: readonly QueuedSend[], { answer, hold, fail }: BatchActions): Promise<void> {
    const { db, logs, conversations, denials } = this.#options;
    const cached: ConversationOf = (id) => conversations.peek(id);
    const refused = new Map<QueuedSend, Outcome>();
    const replies: QueuedSend[] = [];
    const stale: QueuedSend[] = [];
    for (const queued of this.#holdUnchecked(denied, hold, cached)) {
      const denial = denials.of(cached(queued.conversationId), queued);
      if (denial === REPLY_UNCHECKED) replies.push(queued);
      else if (denial !== undefined) stale.push(queued);
    }

    const { fresh, errors } = await this.#readMemberships(stale);
    const freshly: ConversationOf = (id) => fresh.get(id);
    const read = stale.filter(({ conversationId }) => !errors.has(conversationId));
    for (const queued of this.#holdUnchecked(read, hold, freshly)) {
      const denial = denials.of(freshly(queued.conversationId), queued);
      if (denial === REPLY_UNCHECKED) replies.push(queued);
      else if (denial !== undefined) refused.set(queued, denial);
    }

    for (const [id, error] of await checkReplies(logs, replies)) errors.set(id, error);
    for (const queued of replies)
      if (queued.reply === "invalid") refused.set(queued, REPLY_INVALID);

    if (errors.size > 0) fail(errors);
    const duplicates = await findDuplicates(db, [...refused.keys()]);
    for (const [send, denial] of refused) answer(send, duplicates.get(send) ?? denial);
  }

  /** Reads the memberships of the senders and of the mentioned users, and the errors by conversation. */
  async #readMemberships(sends: readonly QueuedSend[]) {
    const { db, logs, conversations } = this.#options;
    const errors = new Map<string, unknown>();
    if (sends.length === 0) return { fresh: new Map<string, Conversation>(), errors };
    const { found: fresh, failures } = await conversations.readSome(
      sends.flatMap(({ conversationId, send: { senderId, mentions } }) =>
        [senderId, ...(mentions?.userIds ?? [])].map((userId) => ({ conversationId, userId })),
      ),
    );
    for (const { items, error } of failures)
      for (const { conversationId } of items) errors.set(conversationId, error);
    for (const { conversationId } of sends) {
      if (errors.has(conversationId) || logs.peekConversation(conversationId) === db) continue;
      errors.set(conversationId, moving());
    }
    return { fresh, errors };
  }

  /**
   * Holds back the sends that are denied only because the state of the other user is unknown, until
   * auth has answered or the call has timed out. Their conversations wait, so that no later send
   * overtakes them; the rest of the batch does not. Returns the other sends.
   */
  #holdUnchecked(
    denied: readonly QueuedSend[],
    hold: BatchActions["hold"],
    conversationOf: ConversationOf,
  ): readonly QueuedSend[] {
    const { users, denials } = this.#options;
    const unchecked = new Set(
      denied.filter(
        (queued) =>
          queued.checks < MAX_CHECKS &&
          denials.of(conversationOf(queued.conversationId), queued) === UNCHECKED,
      ),
    );
    if (unchecked.size === 0) return denied;
    for (const queued of unchecked) queued.checks++;
    // Both users of a direct conversation, so that an answer needs no further check.
    const userIds = [...unchecked].flatMap(
      (queued) => conversationOf(queued.conversationId)!.users,
    );
    hold([...unchecked], users.checkExisting(userIds));
    return denied.filter((queued) => !unchecked.has(queued));
  }
}
