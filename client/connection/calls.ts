import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { Rpc, RpcResult } from "../../gen/lucky/frame/v1/frame_pb.js";
import type { Clock, Timer } from "../clock.ts";
import { LuckyError } from "../error.ts";
import type { TraceOptions } from "../trace-options.ts";

/** Time-out of a call, ms. */
const TIMEOUT_MS = 10_000;
/** Calls in flight, unless the server names another maximum. */
const MAX_IN_FLIGHT = 8;
/** Largest number of calls that wait for their turn; more are rejected with OVERLOADED. */
const MAX_WAITING = 1_000;

type Call = Pick<Rpc, "callId" | "method" | "request">;

/** A call that waits for its turn. */
interface Waiting {
  readonly call: Call;
  readonly trace: TraceOptions;
}

interface PendingCall {
  readonly timer: Timer;
  resolve(response: Uint8Array): void;
  reject(error: LuckyError): void;
}

/**
 * Calls of public methods over the WebSocket: concurrent within the server's limit, with answers matched
 * by call id. Further calls wait for their turn.
 */
export class Calls {
  readonly #clock: Clock;
  readonly #write: (call: Call, trace: TraceOptions) => boolean;
  readonly #pending = new Map<string, PendingCall>();
  #waiting: Waiting[] = [];
  #maxInFlight = MAX_IN_FLIGHT;
  #nextId = 1;

  /** `write` sends a call on the open session; false when there is none. */
  constructor(clock: Clock, write: (call: Call, trace: TraceOptions) => boolean) {
    this.#clock = clock;
    this.#write = write;
  }

  /** Takes the limit of the open session; 0: not known. */
  open(maxCallsInFlight = 0): void {
    this.#maxInFlight = maxCallsInFlight || MAX_IN_FLIGHT;
  }

  /** Calls a unary method. Rejects with a LuckyError; UNAVAILABLE when the session breaks. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    trace: TraceOptions = {},
  ): Promise<MessageShape<O>> {
    const callId = String(this.#nextId++);
    const response = await new Promise<Uint8Array>((resolve, reject) => {
      if (this.#waiting.length >= MAX_WAITING) {
        reject(new LuckyError(ErrorReason.OVERLOADED, `${MAX_WAITING} calls are waiting already`));
        return;
      }
      const timer = this.#clock.after(TIMEOUT_MS, () =>
        this.#fail(callId, `no answer within ${TIMEOUT_MS} ms`),
      );
      this.#pending.set(callId, { timer, resolve, reject });
      const call = {
        callId,
        method: `${method.parent.typeName}/${method.name}`,
        request: toBinary(method.input, create(method.input, request)),
      };
      this.#waiting.push({ call, trace });
      this.#writeWaiting();
    });
    return fromBinary(method.output, response);
  }

  /**
   * Settles a call with a result from the server. A result of an unknown or timed-out call is
   * dropped.
   */
  result({ callId, outcome }: RpcResult): void {
    const pending = this.#pending.get(callId);
    if (!pending || outcome.case === undefined) return;
    this.#pending.delete(callId);
    pending.timer.stop();
    if (outcome.case === "response") pending.resolve(outcome.value);
    else pending.reject(LuckyError.fromRpc(outcome.value));
    this.#writeWaiting();
  }

  /** Rejects all calls in flight with UNAVAILABLE: their session broke. */
  lost(): void {
    this.#waiting = [];
    for (const callId of [...this.#pending.keys()]) this.#fail(callId, "the session broke");
  }

  #writeWaiting(): void {
    while (this.#pending.size - this.#waiting.length < this.#maxInFlight) {
      const next = this.#waiting.shift();
      if (!next) return;
      const { call, trace } = next;
      if (!this.#write(call, trace)) this.#fail(call.callId, "no session is open");
    }
  }

  #fail(callId: string, text: string): void {
    const pending = this.#pending.get(callId);
    this.#pending.delete(callId);
    this.#waiting = this.#waiting.filter(({ call }) => call.callId !== callId);
    pending?.timer.stop();
    pending?.reject(new LuckyError(ErrorReason.UNAVAILABLE, text));
    this.#writeWaiting();
  }
}
