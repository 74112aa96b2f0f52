import type { Client } from "@connectrpc/connect";
import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import type {
  Accepted,
  MessageService,
  SendRequest,
} from "../../gen/lucky/message/v1/message_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause } from "../clock.ts";
import { LuckyError } from "../error.ts";
import type { TraceOptions } from "../trace-options.ts";
import { entryOf, isEntryOf, MAX_SEND_ATTEMPTS } from "./send-request.ts";

export interface RpcSenderOptions {
  readonly clock: Clock;
  readonly messages: Pick<Client<typeof MessageService>, "send">;
  /**
   * Called with the entry of a send in the log, without its sender id, before the send resolves.
   */
  readonly accepted: (entry: Entry) => void;
}

/** Sends over RPC, each message independently of the others. */
export class RpcSender {
  readonly #options: RpcSenderOptions;
  readonly #inFlight = new Set<SendRequest>();

  constructor(options: RpcSenderOptions) {
    this.#options = options;
  }

  /** Sends; retries with back-off under the same client_message_id. Throws a LuckyError. */
  async send(request: SendRequest, { traceparent }: TraceOptions = {}): Promise<Accepted> {
    const { clock, messages } = this.#options;
    const backoff = new Backoff({ firstMs: 200, longestMs: 5_000 });
    const options = traceparent === undefined ? {} : { headers: { traceparent } };
    this.#inFlight.add(request);
    try {
      for (let attempts = 1; ; attempts++) {
        try {
          const accepted = (await messages.send(request, options)).accepted!;
          this.#options.accepted(entryOf(request, accepted));
          return accepted;
        } catch (error) {
          const failure = LuckyError.from(error);
          if (!failure.retryable || attempts >= MAX_SEND_ATTEMPTS) throw failure;
          const delayMs = backoff.next(failure.retryAfterMs);
          await pause(clock, delayMs, new AbortController().signal);
        }
      }
    } finally {
      this.#inFlight.delete(request);
    }
  }

  /** Whether the entry is a send in flight. */
  isOwn(entry: Entry): boolean {
    return [...this.#inFlight].some((request) => isEntryOf(entry, request));
  }
}
