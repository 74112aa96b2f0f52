import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Directs, Pair } from "../conversations/directs.ts";
import { refusal } from "../conversations/refusal.ts";
import type { Delivery } from "../delivery/envelopes.ts";
import type { Relay } from "../delivery/relay.ts";
import type { ServerMetrics } from "../metrics.ts";
import type { AppendResult } from "./append.ts";
import { AppendQueue, type AppendQueueOptions, type QueuedSend } from "./append-queue.ts";
import type { Outcome, Result } from "./outcome.ts";
import { sendReader } from "./read-send.ts";
import type { RawSend, Send } from "./send.ts";

export interface SendsOptions extends Omit<AppendQueueOptions, "committed"> {
  readonly directs: Directs;
  readonly relay: Relay;
  readonly metrics: ServerMetrics;
  readonly overloadedRetryMs: number;
}

/** The sends of one call, which ends with the last of them. */
class AppendCall {
  readonly results: Result[];
  readonly #done: () => void;
  readonly #failed: (error: unknown) => void;
  #open = 0;

  constructor(options: {
    results: Result[];
    done: () => void;
    failed: (error: unknown) => void;
  }) {
    this.results = options.results;
    this.#done = options.done;
    this.#failed = options.failed;
  }

  begin(): void {
    this.#open++;
  }

  end(): void {
    this.#open--;
    if (this.#open === 0) this.#done();
  }

  fail(error: unknown): void {
    this.#failed(error);
  }
}

/** One of them. A class: there is one for every message, and a closure each would cost more. */
class CallSend implements QueuedSend {
  readonly send: Send;
  readonly conversationId: string;
  answered = false;
  readonly #call: AppendCall;
  readonly #index: number;

  constructor(send: Send, conversationId: string, call: AppendCall, index: number) {
    this.send = send;
    this.conversationId = conversationId;
    this.#call = call;
    this.#index = index;
  }

  answer(outcome: Outcome): void {
    if (outcome.kind === "failed") {
      this.#call.fail(outcome.error);
      return;
    }
    const { clientMessageId } = this.send;
    this.#call.results[this.#index] = { clientMessageId, outcome };
    this.#call.end();
  }
}

/** Sends of one call, and what is known of each by its place. */
interface CallSends {
  readonly sends: readonly (Send | undefined)[];
  readonly addressed: (string | undefined)[];
  readonly call: AppendCall;
}

/** A send whose conversation has to be looked up or made. */
interface UnresolvedSend {
  readonly index: number;
  readonly pair: Pair;
}

function isBy(send: Send | undefined, senders: ReadonlySet<string>): boolean {
  return send !== undefined && senders.has(send.senderId);
}

/** The way of sends into the log: read, addressed, appended in lanes, handed to the relay. */
export class Sends {
  readonly #options: SendsOptions;
  readonly #read = sendReader();
  readonly #lanes: AppendQueue;

  constructor(options: SendsOptions) {
    this.#options = options;
    this.#lanes = new AppendQueue({
      ...options,
      committed: (result, acceptedAtMs) => this.#committed(result, acceptedAtMs),
    });
  }

  /** Appends sends; one result each, in their order. A refused one does not hinder the others. */
  async append(raws: readonly RawSend[]): Promise<Result[]> {
    const results: Result[] = new Array(raws.length);
    const addressed: (string | undefined)[] = new Array(raws.length);
    const sends: (Send | undefined)[] = new Array(raws.length);
    const unknown: UnresolvedSend[] = [];
    const { directs, log, metrics } = this.#options;
    let refused = 0;
    const refuse = (index: number, clientMessageId: string, outcome: Outcome) => {
      results[index] = { clientMessageId, outcome };
      refused++;
    };

    for (let index = 0; index < raws.length; index++) {
      const send = this.#read(raws[index]!);
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
      if (addressed[index] === undefined) unknown.push({ index, pair });
    }
    metrics.refused(refused);
    const { promise: ended, resolve: done, reject: failed } = Promise.withResolvers<void>();
    const work: CallSends = { sends, addressed, call: new AppendCall({ results, done, failed }) };
    // One more than there are sends, so that it ends only after all were handed over.
    work.call.begin();
    if (unknown.length === 0) {
      this.#push(work);
      work.call.end();
      await ended;
    } else await Promise.all([ended, this.#pushUnknown(work, unknown)]);
    return results;
  }

  /** Hands over what waits for nobody, then, when their conversations are known, the others. */
  async #pushUnknown(work: CallSends, unknown: readonly UnresolvedSend[]): Promise<void> {
    const { sends, addressed, call } = work;
    // Sends of one sender keep their order, whichever way they are addressed.
    const waiting = new Set(unknown.map(({ pair }) => pair.senderId));
    this.#push({ ...work, sends: sends.map((send) => (isBy(send, waiting) ? undefined : send)) });
    const found = await this.#options.directs.resolve(unknown.map(({ pair }) => pair));
    let refused = 0;
    for (const [nth, { index }] of unknown.entries()) {
      const conversation = found[nth]!;
      if (typeof conversation === "string") {
        addressed[index] = conversation;
        continue;
      }
      const { clientMessageId } = sends[index]!;
      const outcome = { kind: "refused", refusal: conversation } as const;
      call.results[index] = { clientMessageId, outcome };
      refused++;
    }
    this.#options.metrics.refused(refused);
    this.#push({ ...work, sends: sends.map((send) => (isBy(send, waiting) ? send : undefined)) });
    call.end();
  }

  /** Sends that wait, those in work not counted. */
  get waiting(): number {
    return this.#lanes.waiting;
  }

  /** Resolves when nothing waits and nothing is in work. */
  idle(): Promise<void> {
    return this.#lanes.idle();
  }

  /** Hands sends whose conversation is known over to the lanes. */
  #push({ sends, addressed, call }: CallSends): void {
    const { metrics, overloadedRetryMs } = this.#options;
    for (let index = 0; index < sends.length; index++) {
      const send = sends[index];
      const conversationId = addressed[index];
      if (send === undefined || conversationId === undefined) continue;
      call.begin();
      const pending = new CallSend(send, conversationId, call, index);
      if (this.#lanes.push(pending)) continue;
      metrics.overloaded();
      const full = refusal(ErrorReason.OVERLOADED, "too many messages wait", overloadedRetryMs);
      pending.answer({ kind: "refused", refusal: full });
    }
  }

  #committed(result: AppendResult<QueuedSend>, acceptedAtMs: number): void {
    const { outboxId, appended } = result;
    if (appended.length === 0) return;
    let bytes = 0;
    for (const { messages } of appended) for (const { body } of messages) bytes += body.length;
    this.#options.relay.offer({
      outboxId,
      bytes,
      deliveries: () =>
        appended.map(
          ({ conversation, baseSequence, messages }): Delivery => ({
            conversationId: conversation.conversationId,
            channels: conversation.channels,
            baseSequence,
            entries: messages.map(({ queued: pending, body }) => ({
              body,
              acceptedAtMs,
              originSessionId: pending.send.sessionId,
            })),
            memberships: [],
          }),
        ),
    });
  }
}
