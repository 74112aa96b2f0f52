import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { AppendResult } from "./append.ts";
import type { Directs, Pair } from "./directs.ts";
import type { Delivery } from "./envelopes.ts";
import { Lane, type LaneOptions, type Pending } from "./lane.ts";
import type { Measures } from "./measures.ts";
import { type Outcome, refusal } from "./outcome.ts";
import type { Relay } from "./relay.ts";
import { type RawSend, type Send, sendReader } from "./send.ts";

export interface SendsOptions extends Omit<LaneOptions, "committed"> {
  readonly directs: Directs;
  readonly relay: Relay;
  readonly measures: Measures;
  readonly lanes: number;
  readonly overloadedRetryMs: number;
}

/** A send and what became of it. */
export interface Result {
  /** Empty when it could not be read. */
  readonly clientMessageId: string;
  readonly outcome: Outcome;
}

/** The way of sends into the log: read, addressed, appended lane by lane, handed to the relay. */
export class Sends {
  readonly #options: SendsOptions;
  readonly #read = sendReader();
  readonly #lanes: Lane[];

  constructor(options: SendsOptions) {
    this.#options = options;
    this.#lanes = Array.from(
      { length: options.lanes },
      (_, index) =>
        new Lane({
          ...options,
          committed: (result, acceptedAtMs) => this.#committed(index, result, acceptedAtMs),
        }),
    );
  }

  /** Appends sends; one result each, in their order. A refused one does not hinder the others. */
  async append(raws: readonly RawSend[]): Promise<Result[]> {
    const results: Result[] = new Array(raws.length);
    const addressed: (string | undefined)[] = new Array(raws.length);
    const sends: (Send | undefined)[] = new Array(raws.length);
    const unknown: { index: number; pair: Pair }[] = [];
    const { directs, measures } = this.#options;
    let refused = 0;
    const refuse = (index: number, clientMessageId: string, outcome: Outcome) => {
      results[index] = { clientMessageId, outcome };
      refused++;
    };

    for (const [index, raw] of raws.entries()) {
      const read = this.#read(raw);
      if (read.kind === "refused") {
        refuse(index, read.clientMessageId, { kind: "refused", refusal: read.refusal });
        continue;
      }
      const { send } = read;
      sends[index] = send;
      if (send.target.case === "conversationId") {
        addressed[index] = send.target.value;
        continue;
      }
      const pair = { senderId: send.senderId, peerId: send.target.value! };
      addressed[index] = directs.peek(pair);
      if (addressed[index] === undefined) unknown.push({ index, pair });
    }
    if (unknown.length > 0) {
      const found = await directs.resolve(unknown.map(({ pair }) => pair));
      for (const [nth, { index }] of unknown.entries()) {
        const conversation = found[nth]!;
        if (typeof conversation === "string") addressed[index] = conversation;
        else
          refuse(index, sends[index]!.clientMessageId, { kind: "refused", refusal: conversation });
      }
    }
    measures.refused(refused);
    await this.#appendAll({ sends, addressed, results });
    return results;
  }

  /** Sends that wait in all lanes. */
  get waiting(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.waiting, 0);
  }

  /** Resolves when nothing waits and nothing is in work. */
  async idle(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.idle()));
  }

  /** The lane of a conversation. */
  laneOf(conversationId: string): number {
    let hash = 0x811c9dc5;
    for (let i = 0; i < conversationId.length; i++) {
      hash = Math.imul(hash ^ conversationId.charCodeAt(i), 0x01000193);
    }
    return (hash >>> 0) % this.#lanes.length;
  }

  #appendAll(work: {
    sends: readonly (Send | undefined)[];
    addressed: readonly (string | undefined)[];
    results: Result[];
  }): Promise<void> {
    const { sends, addressed, results } = work;
    const { measures, overloadedRetryMs } = this.#options;
    return new Promise((resolve, reject) => {
      // One more than there are sends, so that it ends only after all were handed over.
      let open = 1;
      const done = () => {
        open--;
        if (open === 0) resolve();
      };
      for (const [index, send] of sends.entries()) {
        const conversationId = addressed[index];
        if (send === undefined || conversationId === undefined) continue;
        const { clientMessageId } = send;
        open++;
        const pending: Pending = {
          ...send,
          conversationId,
          answer(outcome) {
            if (outcome.kind === "failed") return reject(outcome.error);
            results[index] = { clientMessageId, outcome };
            done();
          },
        };
        if (this.#lanes[this.laneOf(conversationId)]!.push(pending)) continue;
        measures.overloaded();
        const full = refusal(ErrorReason.OVERLOADED, "too many messages wait", overloadedRetryMs);
        pending.answer({ kind: "refused", refusal: full });
      }
      done();
    });
  }

  #committed(lane: number, result: AppendResult<Pending>, acceptedAtMs: number): void {
    const { outboxId, appended } = result;
    if (appended.length === 0) return;
    let bytes = 0;
    for (const { messages } of appended) for (const { body } of messages) bytes += body.length;
    this.#options.relay.offer(lane, {
      outboxId,
      bytes,
      deliveries: () =>
        appended.map(
          ({ conversation, baseSequence, messages }): Delivery => ({
            conversationId: conversation.conversationId,
            channels: conversation.channels,
            baseSequence,
            entries: messages.map(({ send, body }) => ({
              body,
              acceptedAtMs,
              originSessionId: send.sessionId,
            })),
            memberships: [],
          }),
        ),
    });
  }
}
