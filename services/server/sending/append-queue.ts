import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Batches } from "#platform/batching/batches.ts";
import type { Clock } from "#platform/clock.ts";
import type { Ids } from "#platform/ids.ts";
import type { Log } from "#platform/log.ts";
import type { Conversation, Conversations } from "../conversations/conversations.ts";
import { refusal } from "../conversations/refusal.ts";
import { type Database, isConflict, isDuplicateKey } from "../log/database.ts";
import type { ServerMetrics } from "../metrics.ts";
import { type AppendResult, append, type ConversationBatch } from "./append.ts";
import { type AddressedSend, deduplicationKey, findDuplicates } from "./duplicates.ts";
import type { Outcome } from "./outcome.ts";

/** A send that waits for its place in the log. */
export interface QueuedSend extends AddressedSend {
  /** Whether its batch has answered it. */
  answered: boolean;
  /** Called once. */
  answer(outcome: Outcome): void;
}

export interface AppendQueueOptions {
  readonly db: Database;
  readonly conversations: Conversations;
  readonly ids: Ids;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ServerMetrics;
  /** Called after each commit, in the order of the commits. */
  readonly committed: (result: AppendResult<QueuedSend>, acceptedAtMs: number) => void;
  /** Batches that are appended at the same time. */
  readonly lanes: number;
  readonly batchCount: number;
  readonly batchBytes: number;
  readonly queueCount: number;
  readonly queueBytes: number;
  readonly outboxDelayMs: number;
}

/** How often a batch goes round before what is left of it is refused. */
const MAX_ATTEMPTS = 12;
/** For how long the keys of a sender who repeated one are looked up first, and of how many senders. */
const DUPLICATE_SENDER_MS = 60_000;
const MAX_DUPLICATE_SENDERS = 10_000;

/**
 * Appends sends in batches, several at the same time, a conversation in one of them at most: what
 * arrives meanwhile goes with the next. Bounded: `push` says no when too much waits.
 */
export class AppendQueue {
  readonly #options: AppendQueueOptions;
  readonly #batches: Batches<QueuedSend>;
  /** Senders who repeated a key lately, and until when that counts; the longest ago first. */
  readonly #repeaters = new Map<string, number>();

  constructor(options: AppendQueueOptions) {
    this.#options = options;
    this.#batches = new Batches({
      ...options,
      key: ({ conversationId }) => conversationId,
      bytes: ({ send }) => send.fields.length,
      inFlight: options.lanes,
      lingerMs: 0,
      carry: (batch) => this.#append(batch),
    });
  }

  /** Takes a send on; false when too much waits. */
  push(send: QueuedSend): boolean {
    return this.#batches.push(send);
  }

  /** Sends that wait, those in work not counted. */
  get waiting(): number {
    return this.#batches.waiting;
  }

  /** Resolves when nothing waits and nothing is in work. */
  idle(): Promise<void> {
    return this.#batches.idle();
  }

  /** Answers every send of the batch. */
  async #append(batch: readonly QueuedSend[]): Promise<void> {
    const { metrics, log } = this.#options;
    const startedAtMs = performance.now();
    const tally = { accepted: 0, refused: 0, failed: 0 };
    const answer: Answer = (pending, outcome) => {
      if (pending.answered) return;
      pending.answered = true;
      tally[outcome.kind]++;
      pending.answer(outcome);
    };
    let left = batch;
    try {
      for (let round = 0; left.length > 0 && round < MAX_ATTEMPTS; round++) {
        left = await this.#round(left, answer);
      }
      for (const send of left) answer(send, TOO_MANY_CONFLICTS);
    } catch (error) {
      const open = batch.filter(({ answered }) => !answered);
      log.warn({ event: "append_failed", count: open.length, err: error });
      // What waits for the conversations of failed sends must not overtake their repetition.
      const broken = new Set(open.map(({ conversationId }) => conversationId));
      const behind = this.#batches.withdraw(({ conversationId }) => broken.has(conversationId));
      for (const send of open) answer(send, { kind: "failed", error });
      for (const send of behind) send.answer({ kind: "failed", error });
    }
    metrics.appended(batch.length, (performance.now() - startedAtMs) / 1_000, tally);
  }

  /** One try. Returns the sends that have to go round again, in their order. */
  async #round(sends: readonly QueuedSend[], answer: Answer): Promise<readonly QueuedSend[]> {
    let allowed = sends;
    let grouped = this.#groups(sends);
    if (grouped.denied.length > 0) {
      allowed = await this.#allowed(sends, grouped.denied, answer);
      grouped = this.#groups(allowed);
    }
    const suspects = this.#suspects(allowed);
    if (suspects.length === 0) return this.#appendOnce(allowed, grouped, answer);
    const { stored, again } = await this.#repeatsOf(suspects, answer);
    this.#suspect(stored, again);
    const fresh = allowed.filter((send) => !stored.has(send) && !again.has(send));
    return [...(await this.#appendOnce(fresh, this.#groups(fresh), answer)), ...again];
  }

  /** Appends groups of sends by one statement; returns the sends that are left, as `#round`. */
  async #appendOnce(
    allowed: readonly QueuedSend[],
    { batches: groups, denied: left }: Grouped,
    answer: Answer,
  ): Promise<readonly QueuedSend[]> {
    const { db, ids, clock, metrics, conversations, committed, outboxDelayMs } = this.#options;
    if (groups.length === 0) return left;
    const nowMs = clock.now();
    try {
      const result = await append(db, groups, {
        takeIds: (count) => ids.take(count),
        nowMs,
        nextAttemptAtMs: nowMs + outboxDelayMs,
      });
      committed(result, nowMs);
      for (const { conversation, baseSequence, messages } of result.appended) {
        const { key: conversationId } = conversation;
        let sequence = baseSequence;
        for (const { queued: pending, messageId } of messages) {
          sequence++;
          answer(pending, {
            kind: "accepted",
            conversationId,
            sequence,
            acceptedAtMs: nowMs,
            messageId,
          });
        }
      }
      if (result.stale.length === 0) return left;
      metrics.roundAgain("members_changed");
      for (const { conversation } of result.stale) conversations.evict(conversation.conversationId);
      return [...left, ...result.stale.flatMap((group) => group.sends)];
    } catch (error) {
      if (isConflict(error)) {
        metrics.roundAgain("conflict");
        return allowed;
      }
      if (!isDuplicateKey(error)) throw error;
      metrics.roundAgain("repeated");
      const { stored, again } = await this.#repeatsOf(allowed, answer);
      // When most of a batch is repeated, connect repeats it, and not its senders.
      if ((stored.size + again.size) * 2 <= allowed.length) this.#suspect(stored, again);
      const once = allowed.filter((send) => !stored.has(send) && !again.has(send));
      if (again.size === 0) return once;
      return [...(await this.#appendOnce(once, this.#groups(once), answer)), ...again];
    }
  }

  /**
   * Sends of those who repeated something lately. What they repeat now is found first: in the statement
   * it would fail the whole batch, and whoever repeats all the time would halve what everybody can send.
   */
  #suspects(sends: readonly QueuedSend[]): readonly QueuedSend[] {
    if (this.#repeaters.size === 0) return [];
    const now = this.#options.clock.elapsed();
    for (const [senderId, until] of this.#repeaters) {
      if (until > now) break;
      this.#repeaters.delete(senderId);
    }
    return sends.filter(({ send }) => this.#repeaters.has(send.senderId));
  }

  #suspect(...repetitions: readonly ReadonlySet<QueuedSend>[]): void {
    const until = this.#options.clock.elapsed() + DUPLICATE_SENDER_MS;
    for (const repeated of repetitions)
      for (const { send } of repeated) {
        this.#repeaters.delete(send.senderId);
        this.#repeaters.set(send.senderId, until);
      }
    for (const oldest of this.#repeaters.keys()) {
      if (this.#repeaters.size <= MAX_DUPLICATE_SENDERS) break;
      this.#repeaters.delete(oldest);
    }
  }

  /**
   * Those of the sends whose senders may write. The doubtful, who may not by what is remembered, are
   * looked up again before being refused, and so is the key: what was stored once keeps its result.
   */
  async #allowed(
    sends: readonly QueuedSend[],
    doubtful: readonly QueuedSend[],
    answer: Answer,
  ): Promise<readonly QueuedSend[]> {
    const { db, conversations } = this.#options;
    const fresh = await conversations.read(
      doubtful.map(({ conversationId, send }) => ({ conversationId, userId: send.senderId })),
    );
    const refused = new Map<QueuedSend, Outcome>();
    for (const pending of doubtful) {
      const conversation = fresh.get(pending.conversationId);
      const objection = this.#objection(conversation, pending.send.senderId);
      if (objection !== undefined) refused.set(pending, objection);
    }
    if (refused.size === 0) return sends;
    const repeats = await findDuplicates(db, [...refused.keys()]);
    for (const [send, objection] of refused) answer(send, repeats.get(send) ?? objection);
    return sends.filter((send) => !refused.has(send));
  }

  /** Why the sender may not write, as far as is remembered. */
  #objection(conversation: Conversation | undefined, senderId: string): Outcome | undefined {
    if (conversation === undefined) return NOT_FOUND;
    const membership = conversation.memberships.get(senderId);
    if (membership === undefined) return NOT_A_MEMBER;
    if (membership.mutedUntilMs === 0) return undefined;
    return membership.mutedUntilMs > this.#options.clock.now() ? MUTED : undefined;
  }

  /** Sends by conversation. Left: those whose senders may not write, by what is remembered. */
  #groups(sends: readonly QueuedSend[]): Grouped {
    const { conversations } = this.#options;
    const groups = new Map<string, ConversationBatch<QueuedSend>>();
    const left: QueuedSend[] = [];
    for (const pending of sends) {
      const { conversationId, send } = pending;
      const group = groups.get(conversationId);
      const conversation = group?.conversation ?? conversations.peek(conversationId);
      if (conversation === undefined || this.#objection(conversation, send.senderId)) {
        left.push(pending);
      } else if (group === undefined) {
        groups.set(conversationId, { conversation, sends: [pending] });
      } else {
        group.sends.push(pending);
      }
    }
    return { batches: [...groups.values()], denied: left };
  }

  /**
   * Answers the sends that are in the log already. Of those that stand in this batch more than once, the
   * first goes in, and the others, `again`, are then found in the log.
   */
  async #repeatsOf(
    sends: readonly QueuedSend[],
    answer: Answer,
  ): Promise<{ stored: ReadonlySet<QueuedSend>; again: ReadonlySet<QueuedSend> }> {
    const found = await findDuplicates(this.#options.db, sends);
    for (const [send, outcome] of found) answer(send, outcome);
    const firsts = new Set<string>();
    const again = new Set<QueuedSend>();
    for (const send of sends) {
      if (found.has(send)) continue;
      const key = deduplicationKey(send);
      if (firsts.has(key)) again.add(send);
      else firsts.add(key);
    }
    return { stored: new Set(found.keys()), again };
  }
}

/** Sends by conversation, and those whose senders may not write, by what is remembered. */
interface Grouped {
  readonly batches: readonly ConversationBatch<QueuedSend>[];
  readonly denied: readonly QueuedSend[];
}

type Answer = (send: QueuedSend, outcome: Outcome) => void;

const NOT_FOUND: Outcome = {
  kind: "refused",
  refusal: refusal(ErrorReason.CONVERSATION_NOT_FOUND, "no such conversation"),
};
const NOT_A_MEMBER: Outcome = {
  kind: "refused",
  refusal: refusal(ErrorReason.NOT_A_MEMBER, "the sender is not a member of the conversation"),
};
const MUTED: Outcome = {
  kind: "refused",
  refusal: refusal(ErrorReason.MUTED, "the sender is muted in the conversation"),
};
const TOO_MANY_CONFLICTS: Outcome = {
  kind: "refused",
  refusal: refusal(ErrorReason.OVERLOADED, "the conversation changes too fast", 500),
};
