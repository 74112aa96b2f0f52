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

/** Time-out of a call, ms. */
const TIMEOUT_MS = 10_000;

interface PendingCall {
  readonly timer: Timer;
  resolve(response: Uint8Array): void;
  reject(error: LuckyError): void;
}

/** Calls of public methods over the WebSocket: concurrent, with answers matched by call id. */
export class Calls {
  readonly #clock: Clock;
  readonly #write: (call: Pick<Rpc, "callId" | "method" | "request">) => boolean;
  readonly #pending = new Map<string, PendingCall>();
  #nextId = 1;

  /** `write` sends a call on the open session; false when there is none. */
  constructor(clock: Clock, write: (call: Pick<Rpc, "callId" | "method" | "request">) => boolean) {
    this.#clock = clock;
    this.#write = write;
  }

  /** Calls a unary method. Rejects with a LuckyError; UNAVAILABLE when the session breaks. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    const callId = String(this.#nextId++);
    const response = await new Promise<Uint8Array>((resolve, reject) => {
      const timer = this.#clock.after(TIMEOUT_MS, () => {
        this.#pending.delete(callId);
        reject(new LuckyError(ErrorReason.UNAVAILABLE, `no answer within ${TIMEOUT_MS} ms`));
      });
      this.#pending.set(callId, { timer, resolve, reject });
      const written = this.#write({
        callId,
        method: `${method.parent.typeName}/${method.name}`,
        request: toBinary(method.input, create(method.input, request)),
      });
      if (!written) this.#fail(callId, "no session is open");
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
  }

  /** Rejects all calls in flight with UNAVAILABLE: their session broke. */
  lost(): void {
    for (const callId of [...this.#pending.keys()]) this.#fail(callId, "the session broke");
  }

  #fail(callId: string, text: string): void {
    const pending = this.#pending.get(callId);
    this.#pending.delete(callId);
    pending?.timer.stop();
    pending?.reject(new LuckyError(ErrorReason.UNAVAILABLE, text));
  }
}
