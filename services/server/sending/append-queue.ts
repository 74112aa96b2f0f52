import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Batches } from "#platform/batching/batches.ts";
import type { Clock } from "#platform/clock.ts";
import type { Ids } from "#platform/ids.ts";
import type { Log } from "#platform/log.ts";
import { exemplarOf, type Span } from "#platform/tracing/traces.ts";
import type { Conversations } from "../conversations/conversations.ts";
import { refusal } from "../conversations/refusal.ts";
import type { Users } from "../conversations/users.ts";
import { type Database, isConflict, isDuplicateKey } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";
import type { ServerMetrics } from "../metrics.ts";
import { type AppendResult, append, appendSpan, type ConversationBatch } from "./append.ts";
import { Denials } from "./denials.ts";
import { DuplicateSenders } from "./duplicate-senders.ts";
import { deduplicationKey, findDuplicates } from "./duplicates.ts";
import type { Outcome } from "./outcome.ts";
import type { QueuedSend } from "./queued-send.ts";
import { Rechecks } from "./rechecks.ts";

export interface AppendQueueOptions {
  readonly db: Database;
  readonly logs: Pick<Logs, "peekConversation" | "spread">;
  readonly conversations: Conversations;
  readonly users: Pick<Users, "peek" | "checkExisting">;
  readonly ids: Ids;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ServerMetrics;
  /** Called after each commit, in the order of the commits. */
  readonly committed: (result: AppendResult<QueuedSend>, acceptedAtMs: number) => void;
  /** The spans of the traced calls that the sends belong to. */
  readonly spansOf: (sends: Iterable<QueuedSend>) => readonly Span[];
  /** Maximum batches that are appended concurrently. */
  readonly lanes: number;
  readonly batchCount: number;
  readonly batchBytes: number;
  readonly queueCount: number;
  readonly queueBytes: number;
  readonly outboxDelayMs: number;
}

/** Maximum attempts of a batch; sends that are not appended by then are refused with OVERLOADED. */
const MAX_ATTEMPTS = 12;

/**
 * Queue of sends in front of the log. Appends them in batches: up to `lanes` batches are in flight
 * at once, and a conversation is in at most one of them, so its sends keep their order. Sends that
 * arrive while the lanes are busy join the next batch. A send to a user whose state must be looked up
 * first is held back with its conversation. The queue is bounded by `queueCount` and `queueBytes`:
 * `push` returns false when it is full.
 */
export class AppendQueue {
  readonly #options: AppendQueueOptions;
  readonly #batches: Batches<QueuedSend>;
  readonly #denials: Denials;
  readonly #rechecks: Rechecks;
  readonly #duplicateSenders: DuplicateSenders;

  constructor(options: AppendQueueOptions) {
    this.#options = options;
    this.#denials = new Denials(options);
    this.#rechecks = new Rechecks({ ...options, denials: this.#denials });
    this.#duplicateSenders = new DuplicateSenders(options.clock);
    this.#batches = new Batches({
      ...options,
      key: ({ conversationId }) => conversationId,
      bytes: ({ send }) => send.fields.length,
      inFlight: options.lanes,
      lingerMs: 0,
      flush: (batch) => this.#append(batch),
    });
  }

  /** Queues a send; returns false when the queue is full. */
  push(send: QueuedSend): boolean {
    return this.#batches.push(send);
  }

  /** Resolves when nothing is queued or in flight. */
  idle(): Promise<void> {
    return this.#batches.idle();
  }

  /** Appends a batch, with retries, and answers each of its sends. Never rejects. */
  async #append(batch: readonly QueuedSend[]): Promise<void> {
    const { metrics, log } = this.#options;
    const startedAtMs = performance.now();
    const tally = { accepted: 0, refused: 0, failed: 0 };
    const answer: Answer = (queued, outcome) => {
      if (queued.answered) return;
      queued.answered = true;
      tally[outcome.kind]++;
      queued.answer(outcome);
    };
    const held = new Set<QueuedSend>();
    const span = appendSpan(this.#options.spansOf(batch), batch.length);
    let failure: unknown;
    let remaining = batch;
    try {
      for (let attempt = 0; remaining.length > 0 && attempt < MAX_ATTEMPTS; attempt++) {
        const left = await this.#attempt(remaining, answer, held);
        remaining = inOrderOf(remaining, left);
      }
      for (const send of remaining) answer(send, TOO_MANY_CONFLICTS);
    } catch (error) {
      const open = batch.filter((send) => !send.answered && !held.has(send));
      failure = error;
      log.warn({ event: "append_failed", count: open.length, trace_id: span?.traceId, err: error });
      this.#fail(open, new Map(open.map(({ conversationId }) => [conversationId, error])), answer);
    }
    span?.end(failure);
    const seconds = (performance.now() - startedAtMs) / 1_000;
    metrics.appended(batch.length - held.size, seconds, tally, span && exemplarOf(span));
  }

  /**
   * Answers the sends of conversations that failed. Queued sends of these conversations fail too: they
   * must not overtake the retry of a failed send.
   */
  #fail(sends: readonly QueuedSend[], errors: ReadonlyMap<string, unknown>, answer: Answer): void {
    const isFailed = ({ conversationId }: QueuedSend) => errors.has(conversationId);
    const outcome = ({ conversationId }: QueuedSend): Outcome => ({
      kind: "failed",
      error: errors.get(conversationId),
    });
    const queued = this.#batches.remove(isFailed);
    for (const send of sends) if (isFailed(send)) answer(send, outcome(send));
    for (const send of queued) send.answer(outcome(send));
  }

  /**
   * Attempts to append a batch. Returns the sends to retry. Adds to `held` the sends
   * that wait for auth; they return to the queue.
   */
  async #attempt(
    sends: readonly QueuedSend[],
    answer: Answer,
    held: Set<QueuedSend>,
  ): Promise<readonly QueuedSend[]> {
    let allowed = sends;
    let grouped = this.#groupByConversation(sends);
    if (grouped.denied.length > 0) {
      allowed = await this.#recheckDenied(sends, grouped.denied, { answer, held });
      grouped = this.#groupByConversation(allowed);
    }
    const likely = this.#duplicateSenders.sendsOf(allowed);
    if (likely.length === 0) return this.#appendOnce(allowed, grouped, answer);
    const { stored, deferred } = await this.#answerDuplicates(likely, answer);
    this.#duplicateSenders.add(stored, deferred);
    const fresh = allowed.filter((send) => !stored.has(send) && !deferred.has(send));
    return [
      ...(await this.#appendOnce(fresh, this.#groupByConversation(fresh), answer)),
      ...deferred,
    ];
  }

  /** Appends the grouped sends by one statement. Returns the sends to retry, as `#attempt` does. */
  async #appendOnce(
    allowed: readonly QueuedSend[],
    { batches, denied }: Grouped,
    answer: Answer,
  ): Promise<readonly QueuedSend[]> {
    const { db, ids, clock, metrics, conversations, committed, outboxDelayMs } = this.#options;
    if (batches.length === 0) return denied;
    const nowMs = clock.now();
    try {
      const result = await append(db, batches, {
        takeIds: (count) => ids.take(count),
        nowMs,
        nextAttemptAtMs: nowMs + outboxDelayMs,
      });
      committed(result, nowMs);
      for (const { conversation, baseSequence, messages } of result.appended) {
        const { key: conversationId } = conversation;
        let sequence = baseSequence;
        for (const { queued, messageId } of messages) {
          sequence++;
          answer(queued, {
            kind: "accepted",
            conversationId,
            sequence,
            acceptedAtMs: nowMs,
            messageId,
          });
        }
      }
      if (result.stale.length === 0) return denied;
      metrics.retried("members_changed");
      for (const { conversation } of result.stale) conversations.evict(conversation.conversationId);
      return [...denied, ...result.stale.flatMap((batch) => batch.sends)];
    } catch (error) {
      if (isConflict(error)) {
        metrics.retried("conflict");
        return allowed;
      }
      if (!isDuplicateKey(error)) throw error;
      metrics.retried("duplicate");
      const { stored, deferred } = await this.#answerDuplicates(allowed, answer);
      // When more than half of a batch are duplicates, connect has retried the batch: the senders
      // are not at fault.
      if ((stored.size + deferred.size) * 2 <= allowed.length)
        this.#duplicateSenders.add(stored, deferred);
      const once = allowed.filter((send) => !stored.has(send) && !deferred.has(send));
      if (deferred.size === 0) return once;
      return [
        ...(await this.#appendOnce(once, this.#groupByConversation(once), answer)),
        ...deferred,
      ];
    }
  }

  /** Re-checks the denied sends of a batch. Returns the sends of the batch that may be appended. */
  async #recheckDenied(
    sends: readonly QueuedSend[],
    denied: readonly QueuedSend[],
    { answer, held }: { answer: Answer; held: Set<QueuedSend> },
  ): Promise<readonly QueuedSend[]> {
    const isOpen = (send: QueuedSend) => !send.answered && !held.has(send);
    await this.#rechecks.run(denied, {
      answer,
      hold: (unchecked, until) => {
        for (const queued of unchecked) held.add(queued);
        this.#batches.hold(unchecked, until);
      },
      fail: (errors) => this.#fail(sends.filter(isOpen), errors, answer),
    });
    return sends.filter(isOpen);
  }

  /**
   * Groups sends by conversation, and separates those that the caches deny, with the later sends of
   * their senders to the same conversations.
   */
  #groupByConversation(sends: readonly QueuedSend[]): Grouped {
    const { conversations } = this.#options;
    const batches = new Map<string, ConversationBatch<QueuedSend>>();
    const denied: QueuedSend[] = [];
    const waiting = new Set<string>();
    for (const queued of sends) {
      const { conversationId } = queued;
      const batch = batches.get(conversationId);
      const conversation = batch?.conversation ?? conversations.peek(conversationId);
      if (
        conversation === undefined ||
        this.#denials.of(conversation, queued) !== undefined ||
        (denied.length > 0 && waiting.has(laneOf(queued)))
      ) {
        denied.push(queued);
        waiting.add(laneOf(queued));
      } else if (batch === undefined) {
        batches.set(conversationId, { conversation, sends: [queued] });
      } else {
        batch.sends.push(queued);
      }
    }
    return { batches: [...batches.values()], denied };
  }

  /**
   * Answers the sends that the log holds already (`stored`). Within the batch the first send of a
   * key is appended; its duplicates (`deferred`) are retried, and the retry finds them in the log.
   */
  async #answerDuplicates(
    sends: readonly QueuedSend[],
    answer: Answer,
  ): Promise<{ stored: ReadonlySet<QueuedSend>; deferred: ReadonlySet<QueuedSend> }> {
    const found = await findDuplicates(this.#options.db, sends);
    for (const [send, outcome] of found) answer(send, outcome);
    const firstKeys = new Set<string>();
    const deferred = new Set<QueuedSend>();
    for (const send of sends) {
      if (found.has(send)) continue;
      const key = deduplicationKey(send);
      if (firstKeys.has(key)) deferred.add(send);
      else firstKeys.add(key);
    }
    return { stored: new Set(found.keys()), deferred };
  }
}

/** Sends by conversation, and the sends that the caches deny. */
interface Grouped {
  readonly batches: readonly ConversationBatch<QueuedSend>[];
  readonly denied: readonly QueuedSend[];
}

/** Key of sends that keep their order: those of one sender in one conversation. */
function laneOf({ conversationId, send }: QueuedSend): string {
  return `${conversationId} ${send.senderId}`;
}

/** The sends among `some`, in the order of `sends`: retries must not change it. */
function inOrderOf(
  sends: readonly QueuedSend[],
  some: readonly QueuedSend[],
): readonly QueuedSend[] {
  if (some.length === 0) return some;
  const among = new Set(some);
  return sends.filter((send) => among.has(send));
}

type Answer = (send: QueuedSend, outcome: Outcome) => void;

const TOO_MANY_CONFLICTS: Outcome = {
  kind: "refused",
  refusal: refusal(ErrorReason.OVERLOADED, "the conversation changes too fast", 500),
};
