import { fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import { type Attributes, batchSpan, type Span, type Traces } from "#platform/tracing/traces.ts";

const FRAME = "lucky.frame.v1.Send";
const APPEND = `${IngressService.typeName}/${IngressService.method.appendBatch.name}`;

/**
 * The spans of the sampled sends of devices, each from its frame to its result. They are kept apart
 * from the sends, so that an unsampled send needs no memory for a span.
 */
export class TracedSends<S extends object> {
  readonly #traces: Traces | undefined;
  readonly #spans = new Map<S, Span>();

  constructor(traces: Traces | undefined) {
    this.#traces = traces;
  }

  /** Starts the span of a send when it is sampled; `traceparent` is the context of the device. */
  begin(send: S, traceparent: string): void {
    const parent = this.#traces?.sample(traceparent);
    if (parent === undefined) return;
    const attributes = { "rpc.system.name": "lucky", "rpc.method": FRAME };
    const span = this.#traces!.start(parent, { name: FRAME, kind: "server", attributes });
    this.#spans.set(send, span);
  }

  /** Starts the span of a batch to server; undefined when none of its sends is sampled. */
  batch(sends: readonly S[]): Span | undefined {
    if (this.#spans.size === 0) return undefined;
    const attributes = {
      "rpc.system.name": "connectrpc",
      "rpc.method": APPEND,
      "lucky.batch.sends": sends.length,
    };
    const spans = sends.flatMap((send) => this.#spans.get(send) ?? []);
    return batchSpan(spans, { name: APPEND, kind: "client", attributes });
  }

  /** Ends the spans of sends; `results` are encoded SendResults, by index, empty or undefined for none. */
  end(sends: readonly S[], results: readonly Uint8Array[] | undefined): void {
    if (this.#spans.size === 0) return;
    for (const [index, send] of sends.entries()) {
      const span = this.#spans.get(send);
      if (span === undefined) continue;
      this.#spans.delete(send);
      const result = results?.[index];
      if (result === undefined || result.length === 0) {
        span.set({ "lucky.send.outcome": "failed" });
        span.end(new Error("the send has no result"));
      } else {
        span.set(outcomeOf(result));
        span.end();
      }
    }
  }
}

/** The attributes of a result, without texts. */
function outcomeOf(result: Uint8Array): Attributes {
  const { outcome } = fromBinary(SendResultSchema, result);
  switch (outcome.case) {
    case "accepted":
      return {
        "lucky.send.outcome": "accepted",
        "lucky.conversation_id": outcome.value.conversationId,
        "lucky.sequence": Number(outcome.value.sequence),
      };
    case "refused": {
      const reason = ErrorReason[outcome.value.error?.reason ?? ErrorReason.UNSPECIFIED];
      return { "lucky.send.outcome": "refused", "lucky.send.reason": reason ?? "unknown" };
    }
    default:
      return { "lucky.send.outcome": "unknown" };
  }
}
