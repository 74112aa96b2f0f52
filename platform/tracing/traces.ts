import { createContextKey } from "@connectrpc/connect";
import type { Clock } from "#platform/clock.ts";

/** Header of a call, and field of frames and envelopes, with the context of a span (W3C Trace Context). */
export const TRACE_HEADER = "traceparent";

export type Attributes = Readonly<Record<string, string | number>>;

export interface SpanOptions {
  /** Name and attributes follow OpenTelemetry's conventions: no content, tokens, or phone numbers. */
  readonly name: string;
  readonly kind: "server" | "client" | "producer" | "consumer";
  readonly attributes?: Attributes;
  /** Spans of other traces that share the work. */
  readonly links?: readonly Span[];
}

/** One step of a trace. */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  /** Context for the next process: "traceparent" of W3C Trace Context. */
  readonly traceparent: string;
  /** Starts a step within this one. This one may have ended. */
  child(options: SpanOptions): Span;
  set(attributes: Attributes): void;
  /** Ends the step, with the error that it failed with. Only the type of an error is recorded. */
  end(error?: unknown): void;
}

/** Makes and exports spans. */
export interface Spans {
  /** Starts a span below a context; "" starts a new trace. */
  start(parent: string, options: SpanOptions): Span;
  /** Whether a text is a valid context of a sampled span. */
  isSampled(traceparent: string): boolean;
  /** Exports the spans that wait, within a bounded time. Idempotent. */
  close(): Promise<void>;
}

export interface TracesOptions {
  readonly spans: Spans;
  readonly clock: Pick<Clock, "elapsed">;
  /** Live settings: they may change while the process runs. */
  readonly rates: TraceRates;
}

export interface TraceRates {
  /** Traces one in so many calls and sends of devices; 0: none. */
  readonly traceOneIn: number;
  /** Maximum traces of clients that are continued, a second; 0: none. */
  readonly traceClientsPerSecond: number;
}

/** Maximum links of a span; the other spans of a batch have no link. */
const MAX_LINKS = 32;

/**
 * Decides which calls and sends are traced. A counter samples before any span exists: an unsampled
 * call costs an addition. A span of OpenTelemetry takes 4 to 5 µs, a dropped one 1.5 µs.
 */
export class Traces {
  readonly #options: TracesOptions;
  #unsampled = 0;
  /** Start of the current second, elapsed ms, and the traces of clients continued in it. */
  #secondMs = Number.NEGATIVE_INFINITY;
  #continued = 0;

  constructor(options: TracesOptions) {
    this.#options = options;
  }

  /**
   * Decides for a call of a client. Returns the parent context: `given`, the client's own, when it is
   * sampled and within the bound; "" for a new trace; undefined when the call is not traced.
   */
  sample(given = ""): string | undefined {
    if (given !== "" && this.#mayContinue(given)) return given;
    const { traceOneIn } = this.#options.rates;
    if (traceOneIn === 0) return undefined;
    this.#unsampled++;
    if (this.#unsampled < traceOneIn) return undefined;
    this.#unsampled = 0;
    return "";
  }

  /** Starts a span below the context that `sample` returned. */
  start(parent: string, options: SpanOptions): Span {
    return this.#options.spans.start(parent, options);
  }

  /** Continues the trace of another of our own processes; undefined when the text has none. */
  continue(traceparent: string, options: SpanOptions): Span | undefined {
    const { spans } = this.#options;
    return spans.isSampled(traceparent) ? spans.start(traceparent, options) : undefined;
  }

  /** Exports the spans that wait, within a bounded time. Idempotent. */
  close(): Promise<void> {
    return this.#options.spans.close();
  }

  #mayContinue(given: string): boolean {
    const { rates, clock, spans } = this.#options;
    if (rates.traceClientsPerSecond === 0 || !spans.isSampled(given)) return false;
    const nowMs = clock.elapsed();
    if (nowMs - this.#secondMs >= 1_000) {
      this.#secondMs = nowMs;
      this.#continued = 0;
    }
    this.#continued++;
    return this.#continued <= rates.traceClientsPerSecond;
  }
}

/** The span of a call, for its handler; undefined when the call is not traced. */
export const spanKey = createContextKey<Span | undefined>(undefined, { description: "span" });

/**
 * Starts the one span of a batch: within the first span, with links to the others. Undefined for no
 * spans.
 */
export function batchSpan(spans: readonly Span[], options: SpanOptions): Span | undefined {
  const [first, ...others] = spans;
  return first?.child({ ...options, links: others.slice(0, MAX_LINKS) });
}

/** Labels of the exemplar of a histogram, which lead from a value to its trace. */
export function exemplarOf({ traceId, spanId }: Span): Record<"trace_id" | "span_id", string> {
  return { trace_id: traceId, span_id: spanId };
}

/** Headers of a call within a span. */
export function traceHeaders({ traceparent }: Span): Record<string, string> {
  return { [TRACE_HEADER]: traceparent };
}
