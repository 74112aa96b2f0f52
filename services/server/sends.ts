import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { AppendResult } from "./append.ts";
import type { Directs, Pair } from "./directs.ts";
import type { Delivery } from "./envelopes.ts";
import { Lanes, type LanesOptions, type Pending } from "./lanes.ts";
import type { Measures } from "./measures.ts";
import { type Outcome, refusal } from "./outcome.ts";
import type { Relay } from "./relay.ts";
import { type RawSend, type Send, sendReader } from "./send.ts";

export interface SendsOptions extends Omit<LanesOptions, "committed"> {
  readonly directs: Directs;
  readonly relay: Relay;
  readonly measures: Measures;
  readonly overloadedRetryMs: number;
}

/** A send and what became of it. */
export interface Result {
  /** Empty when it could not be read. */
  readonly clientMessageId: string;
  readonly outcome: Outcome;
}

/** The way of sends into the log: read, addressed, appended in lanes, handed to the relay. */
export class Sends {
  readonly #options: SendsOptions;
  readonly #read = sendReader();
  readonly #lanes: Lanes;

  constructor(options: SendsOptions) {
    this.#options = options;
    this.#lanes = new Lanes({
      ...options,
      committed: (result, acceptedAtMs) => this.#committed(result, acceptedAtMs),
    });
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

  /** Sends that wait, those in work not counted. */
  get waiting(): number {
    return this.#lanes.waiting;
  }

  /** Resolves when nothing waits and nothing is in work. */
  idle(): Promise<void> {
    return this.#lanes.idle();
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
        if (this.#lanes.push(pending)) continue;
        measures.overloaded();
        const full = refusal(ErrorReason.OVERLOADED, "too many messages wait", overloadedRetryMs);
        pending.answer({ kind: "refused", refusal: full });
      }
      done();
    });
  }

  #committed(result: AppendResult<Pending>, acceptedAtMs: number): void {
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
