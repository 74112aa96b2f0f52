import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { SetReactionsRequest, SetReactionsResponse } from "#gen/lucky/message/v1/change_pb.js";
import { FlushLoop } from "#platform/batching/flush-loop.ts";
import { fail } from "#platform/errors.ts";
import { type ChangeDependencies, change } from "./change.ts";
import { mustBeEmojis } from "./emojis.ts";
import { applyReactions, type ReactionCall } from "./reaction-batch.ts";

/** Maximum calls that wait or are in flight in one instance; further ones fail with OVERLOADED. */
const MAX_WAITING = 10_000;
/** `retryAfterMs` of a call that fails with OVERLOADED. */
const OVERLOADED_RETRY_MS = 500;
/** Maximum calls in one transaction. */
const MAX_CALLS = 1_000;
/** Maximum messages in one transaction: each needs several statements while the conversation is locked. */
const MAX_TARGETS = 32;

/** Minimum time between the starts of two flushes of a conversation with this number of members, ms. */
function spacingOf(members: number): number {
  if (members <= 100) return 0;
  return members <= 1_000 ? 500 : 2_000;
}

interface WaitingCall extends ReactionCall {
  readonly answer: PromiseWithResolvers<SetReactionsResponse>;
}

/** The waiting calls of one conversation. */
interface Lane {
  readonly conversationId: string;
  waiting: WaitingCall[];
  readonly loop: FlushLoop;
  /** Start of the last flush, elapsed ms. */
  startedAtMs: number;
  spacingMs: number;
}

/**
 * Batches the reactions of many users: calls for one conversation that arrive during a transaction, or within
 * the spacing after its start, share the next transaction and its entries.
 */
export class Reactions {
  readonly #d: ChangeDependencies;
  /** By conversation. An empty lane is removed after its spacing, which a call before then must wait for. */
  readonly #lanes = new Map<string, Lane>();
  /** Number of calls that wait or are in flight. */
  #count = 0;

  constructor(dependencies: ChangeDependencies) {
    this.#d = dependencies;
  }

  /**
   * Sets the caller's reactions to a message; resolves after the commit. Rejects with
   * CONVERSATION_NOT_FOUND, MESSAGE_NOT_FOUND, MUTED, MESSAGE_RECALLED, REACTION_INVALID,
   * REACTION_LIMIT_REACHED, OVERLOADED, UNAVAILABLE.
   */
  async set(
    { conversationId, sequence, emojis }: SetReactionsRequest,
    userId: string,
  ): Promise<SetReactionsResponse> {
    mustBeEmojis(emojis);
    if (this.#d.config.maxReactionKinds === 0 && emojis.length > 0)
      throw fail(ErrorReason.REACTION_LIMIT_REACHED, "reactions are switched off");
    if (this.#count >= MAX_WAITING)
      throw fail(ErrorReason.OVERLOADED, "too many reactions wait", {
        retryAfterMs: OVERLOADED_RETRY_MS,
      });
    this.#count++;
    const answer = Promise.withResolvers<SetReactionsResponse>();
    const lane = this.#laneOf(conversationId);
    lane.waiting.push({ userId, sequence: Number(sequence), emojis, answer });
    this.#schedule(lane);
    return answer.promise.finally(() => this.#count--);
  }

  /** Flushes all waiting calls without waiting for the spacing. Resolves when all calls have answers. */
  async idle(): Promise<void> {
    while (this.#count > 0) {
      await Promise.all([...this.#lanes.values()].map(({ loop }) => loop.flushNow()));
      // The answers are settled: let their `finally` callbacks decrement `#count`.
      await new Promise(setImmediate);
    }
  }

  #laneOf(conversationId: string): Lane {
    const known = this.#lanes.get(conversationId);
    if (known !== undefined) return known;
    const lane: Lane = {
      conversationId,
      waiting: [],
      loop: new FlushLoop({ clock: this.#d.clock, flush: () => this.#flush(lane) }),
      startedAtMs: Number.NEGATIVE_INFINITY,
      spacingMs: 0,
    };
    this.#lanes.set(conversationId, lane);
    return lane;
  }

  #schedule({ loop, startedAtMs, spacingMs }: Lane): void {
    loop.schedule(Math.max(0, startedAtMs + spacingMs - this.#d.clock.elapsed()));
  }

  /**
   * Applies all waiting calls, in as many transactions as they need. Those that arrive meanwhile wait for the
   * spacing, so that they share the next entries of their messages. Never rejects.
   */
  async #flush(lane: Lane): Promise<void> {
    const calls = lane.waiting;
    lane.waiting = [];
    if (calls.length > 0) lane.startedAtMs = this.#d.clock.elapsed();
    for (const part of partsOf(calls)) await this.#apply(lane, part);
    if (lane.waiting.length > 0) this.#schedule(lane);
    else this.#retire(lane);
  }

  async #apply(lane: Lane, calls: readonly WaitingCall[]): Promise<void> {
    const { conversationId } = lane;
    try {
      const results = await change(this.#d, conversationId, (client, conversation) => {
        lane.spacingMs = spacingOf(conversation.memberCount);
        return applyReactions(this.#d, client, conversation, calls);
      });
      for (const [at, { answer }] of calls.entries()) {
        const result = results[at]!;
        if (result instanceof Error) answer.reject(result);
        else answer.resolve(result);
      }
    } catch (error) {
      for (const { answer } of calls) answer.reject(error);
    }
  }

  /** Removes an empty lane as soon as its spacing has passed. */
  #retire(lane: Lane): void {
    const remove = () => {
      if (lane.waiting.length > 0 || this.#lanes.get(lane.conversationId) !== lane) return;
      this.#lanes.delete(lane.conversationId);
    };
    const waitMs = lane.startedAtMs + lane.spacingMs - this.#d.clock.elapsed();
    if (waitMs > 0) this.#d.clock.after(waitMs, remove);
    else remove();
  }
}

/** Splits calls into those of one transaction each. Calls about one message stay together, in their order. */
function partsOf(calls: readonly WaitingCall[]): WaitingCall[][] {
  const parts: WaitingCall[][] = [];
  let targets = 0;
  for (const ofMessage of Map.groupBy(calls, ({ sequence }) => sequence).values()) {
    targets++;
    for (const call of ofMessage) {
      let part = parts.at(-1);
      if (part === undefined || part.length === MAX_CALLS || targets > MAX_TARGETS) {
        part = [];
        parts.push(part);
        targets = 1;
      }
      part.push(call);
    }
  }
  return parts;
}
