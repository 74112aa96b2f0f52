import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Timer } from "#platform/clock.ts";
import type { Span } from "#platform/tracing/traces.ts";
import type { Directs, Pair } from "../conversations/directs.ts";
import { refusal } from "../conversations/refusal.ts";
import type { Delivery } from "../delivery/envelopes.ts";
import type { Outbox } from "../delivery/outbox.ts";
import type { Relay } from "../delivery/relay.ts";
import { type Database, unreachable } from "../log/database.ts";
import { type Logs, moving } from "../log/logs.ts";
import type { ServerMetrics } from "../metrics.ts";
import type { AppendResult } from "./append.ts";
import { AppendQueue, type AppendQueueOptions } from "./append-queue.ts";
import type { Outcome, Result } from "./outcome.ts";
import type { QueuedSend } from "./queued-send.ts";
import { sendReader } from "./read-send.ts";
import type { RawSend, ReadResult, Send } from "./send.ts";

export interface SendsOptions extends Omit<AppendQueueOptions, "db" | "committed" | "spansOf"> {
  readonly logs: Logs;
  /** By database. */
  readonly outboxes: ReadonlyMap<Database, Outbox>;
  readonly directs: Directs;
  readonly relay: Relay;
  readonly metrics: ServerMetrics;
  readonly config: { readonly overloadedRetryMs: number };
  /** Longest wait of a call for one of several databases, ms. */
  readonly lateMs: number;
}

/** The sends of one call. The call resolves when the last send is answered. */
class AppendCall {
  readonly results: Result[];
  /** Span of the call; undefined when it is not traced. */
  readonly span: Span | undefined;
  readonly #done: () => void;
  #open = 0;

  constructor(results: Result[], span: Span | undefined, done: () => void) {
    this.results = results;
    this.span = span;
    this.#done = done;
  }

  begin(): void {
    this.#open++;
  }

  end(): void {
    this.#open--;
    if (this.#open === 0) this.#done();
  }

  /** Resolves the call before its last sends are answered. */
  expire(): void {
    this.#done();
  }
}

/**
 * One send of a call. It is a class because every message has one, and a closure would cost more.
 */
class CallSend implements QueuedSend {
  readonly send: Send;
  readonly conversationId: string;
  answered = false;
  checks = 0;
  reply: QueuedSend["reply"] = "unchecked";
  readonly #call: AppendCall;
  readonly #index: number;

  constructor(send: Send, conversationId: string, call: AppendCall, index: number) {
    this.send = send;
    this.conversationId = conversationId;
    this.#call = call;
    this.#index = index;
  }

  get span(): Span | undefined {
    return this.#call.span;
  }

  answer(outcome: Outcome): void {
    const { clientMessageId } = this.send;
    this.#call.results[this.#index] = { clientMessageId, outcome };
    this.#call.end();
  }
}

/** Sends of one call. `sends`, `addressed` and the results of the call share their indexes. */
interface CallSends {
  readonly sends: readonly (Send | undefined)[];
  /** Conversation ids; undefined until they are resolved. */
  readonly addressed: (string | undefined)[];
  readonly call: AppendCall;
}

/** A send whose direct conversation must be looked up or created. */
interface UnresolvedSend {
  readonly index: number;
  readonly pair: Pair;
}

const NO_SPANS: readonly Span[] = [];

function isBy(send: Send | undefined, senders: ReadonlySet<string>): boolean {
  return send !== undefined && senders.has(send.senderId);
}

/**
 * Pipeline of sends into the log: decode, find the conversation, queue for the append, pass to the
 * relay.
 */
export class Sends {
  readonly #options: SendsOptions;
  readonly #read = sendReader();
  /** By database: an unreachable database fills only its own queue. */
  readonly #queues: ReadonlyMap<Database, AppendQueue>;
  /** Traced calls in flight. */
  #traced = 0;

  constructor(options: SendsOptions) {
    this.#options = options;
    this.#queues = new Map(
      options.logs.databases.map((db) => {
        const outbox = options.outboxes.get(db)!;
        const committed: AppendQueueOptions["committed"] = (result, acceptedAtMs) =>
          this.#committed(outbox, result, acceptedAtMs);
        const spansOf = (queued: Iterable<QueuedSend>) => this.#spansOf(queued);
        return [db, new AppendQueue({ ...options, db, committed, spansOf })];
      }),
    );
  }

  /**
   * Appends sends. Returns one result each, in their order; a refused or failed send does not affect
   * the others. `span` is the one of the call.
   */
  append(raws: readonly RawSend[], span?: Span): Promise<Result[]> {
    return this.#appendRead(raws.map(this.#read), span);
  }

  /** Appends one send that the server itself has made, as `append` does. */
  async appendOne(send: Send, span?: Span): Promise<Outcome> {
    const [result] = await this.#appendRead([send], span);
    return result!.outcome;
  }

  async #appendRead(reads: readonly ReadResult[], span: Span | undefined): Promise<Result[]> {
    const results: Result[] = new Array(reads.length);
    const addressed: (string | undefined)[] = new Array(reads.length);
    const sends: (Send | undefined)[] = new Array(reads.length);
    const unresolved: UnresolvedSend[] = [];
    const { directs, log, metrics } = this.#options;
    let refused = 0;
    const refuse = (index: number, clientMessageId: string, outcome: Outcome) => {
      results[index] = { clientMessageId, outcome };
      refused++;
    };

    for (let index = 0; index < reads.length; index++) {
      const send = reads[index]!;
      if ("refusal" in send) {
        if (send.fault !== undefined) log.error({ event: "send_not_validated", err: send.fault });
        refuse(index, send.clientMessageId, { kind: "refused", refusal: send.refusal });
        continue;
      }
      sends[index] = send;
      if (send.target.case === "conversationId") {
        addressed[index] = send.target.value;
        continue;
      }
      const pair = { senderId: send.senderId, peerId: send.target.value! };
      addressed[index] = directs.peek(pair);
      if (addressed[index] === undefined) unresolved.push({ index, pair });
    }
    metrics.refused(refused);
    const { promise: ended, resolve: done } = Promise.withResolvers<void>();
    const call = new AppendCall(results, span, done);
    if (span !== undefined) this.#traced++;
    const work: CallSends = { sends, addressed, call };
    // An extra count keeps the call open until all its sends are queued.
    call.begin();
    const late = this.#expireLater(work);
    if (unresolved.length === 0) {
      this.#push(work);
      call.end();
      await ended;
    } else await Promise.all([ended, this.#pushUnresolved(work, unresolved)]);
    late?.stop();
    if (span !== undefined) this.#traced--;
    return results;
  }

  /** The spans of the traced calls that the sends belong to; nothing is read while no call is traced. */
  #spansOf(queued: Iterable<QueuedSend>): readonly Span[] {
    if (this.#traced === 0) return NO_SPANS;
    const spans = new Set<Span>();
    for (const { span } of queued) if (span !== undefined) spans.add(span);
    return [...spans];
  }

  /**
   * Ends a call whose sends concern several databases when one of them does not answer in time: its
   * sends fail, so that the others are answered. They stay in their queue, in front of their retries.
   */
  #expireLater({ sends, call }: CallSends): Timer | undefined {
    const { logs, clock, lateMs } = this.#options;
    if (logs.databases.length === 1) return undefined;
    return clock.after(lateMs, () => {
      for (const [index, send] of sends.entries()) {
        if (send === undefined || call.results[index] !== undefined) continue;
        const outcome: Outcome = { kind: "failed", error: unreachable() };
        call.results[index] = { clientMessageId: send.clientMessageId, outcome };
      }
      call.expire();
    });
  }

  /**
   * Queues the sends of unaffected senders at once, and the other sends when their conversations
   * are resolved.
   */
  async #pushUnresolved(work: CallSends, unresolved: readonly UnresolvedSend[]): Promise<void> {
    const { sends, addressed, call } = work;
    // All sends of such a sender wait, so that they keep their order whether they address a user or
    // a conversation.
    const waiting = new Set(unresolved.map(({ pair }) => pair.senderId));
    this.#push({ ...work, sends: sends.map((send) => (isBy(send, waiting) ? undefined : send)) });
    const found = await this.#options.directs.resolve(unresolved.map(({ pair }) => pair));
    let refused = 0;
    for (const [nth, { index }] of unresolved.entries()) {
      const conversation = found[nth]!;
      if (typeof conversation === "string") {
        addressed[index] = conversation;
        continue;
      }
      const { clientMessageId } = sends[index]!;
      const outcome: Outcome =
        conversation instanceof Error
          ? { kind: "failed", error: conversation }
          : { kind: "refused", refusal: conversation };
      call.results[index] = { clientMessageId, outcome };
      refused++;
    }
    this.#options.metrics.refused(refused);
    this.#push({ ...work, sends: sends.map((send) => (isBy(send, waiting) ? send : undefined)) });
    call.end();
  }

  /** Resolves when nothing is queued or in flight. */
  async idle(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.idle()));
  }

  /**
   * Queues the sends with a known conversation. Refuses with OVERLOADED when the queue of the
   * conversation's database is full; fails while its bucket moves.
   */
  #push({ sends, addressed, call }: CallSends): void {
    const { config, logs, metrics } = this.#options;
    for (let index = 0; index < sends.length; index++) {
      const send = sends[index];
      const conversationId = addressed[index];
      if (send === undefined || conversationId === undefined) continue;
      call.begin();
      const queued = new CallSend(send, conversationId, call, index);
      const db = logs.peekConversation(conversationId);
      if (db === undefined || db.away) {
        if (db === undefined) void logs.refresh();
        queued.answer({ kind: "failed", error: db === undefined ? moving() : unreachable() });
        continue;
      }
      if (this.#queues.get(db)!.push(queued)) continue;
      metrics.overloaded();
      const full = refusal(
        ErrorReason.OVERLOADED,
        "too many messages are queued",
        config.overloadedRetryMs,
      );
      queued.answer({ kind: "refused", refusal: full });
    }
  }

  #committed(outbox: Outbox, result: AppendResult<QueuedSend>, acceptedAtMs: number): void {
    const { outboxId, appended } = result;
    if (appended.length === 0) return;
    let bytes = 0;
    for (const { messages } of appended) for (const { body } of messages) bytes += body.length;
    const spans =
      this.#traced === 0
        ? NO_SPANS
        : this.#spansOf(appended.flatMap(({ messages }) => messages.map(({ queued }) => queued)));
    this.#options.relay.offer({
      outboxId,
      outbox,
      bytes,
      spans,
      deliveries: () =>
        appended.map(
          ({ conversation, baseSequence, messages }): Delivery => ({
            conversationId: conversation.conversationId,
            channels: conversation.channels,
            baseSequence,
            entries: messages.map(({ queued, body }) => ({
              body,
              acceptedAtMs,
              originSessionId: queued.send.sessionId,
            })),
            memberships: [],
          }),
        ),
    });
  }
}
