import { Code, ConnectError } from "@connectrpc/connect";
import {
  ROOT_CONTEXT,
  type Span as SdkSpan,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { ExportResultCode, parseTraceParent } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
  type SpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Attributes, Span, SpanOptions, Spans } from "./traces.ts";

export interface OtlpOptions {
  /** URL of the collector, such as http://collector:4318; the path /v1/traces is added. */
  readonly url: string;
  readonly service: string;
  readonly instanceId: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/** Maximum spans that wait for the collector or are on the way to it; further ones are dropped. */
const MAX_WAITING = 4_096;
const MAX_BATCH = 512;
/** Time in which spans join one export, ms. */
const EXPORT_DELAY_MS = 1_000;
/** Time-out of one export with its retries, ms. */
const EXPORT_TIMEOUT_MS = 5_000;
/** Time-out of `close` for the spans that wait, ms. */
const CLOSE_TIMEOUT_MS = 2_000;
/** Largest text of an attribute, characters. */
const MAX_TEXT = 256;
const MAX_TRACEPARENT = 55;

const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} satisfies Record<SpanOptions["kind"], SpanKind>;

/**
 * Exports spans by OTLP over HTTP, as protobuf. The only module that loads OpenTelemetry's SDK;
 * nothing of it is global. The queue is bounded; the collector never delays a caller.
 */
export function openOtlpSpans(options: OtlpOptions): Spans {
  const { service, instanceId, clock } = options;
  const queue = exportQueue(options);
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      "service.namespace": "lucky",
      "service.name": service,
      "service.instance.id": instanceId,
    }),
    // `Traces` has sampled before: it starts sampled spans only.
    sampler: new AlwaysOnSampler(),
    spanProcessors: [queue.processor],
    spanLimits: { attributeValueLengthLimit: MAX_TEXT },
  });
  const tracer = provider.getTracer("lucky");
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = clock.after(CLOSE_TIMEOUT_MS, late.resolve);
    // A failed export is counted and logged by the queue.
    await Promise.race([provider.shutdown().catch(() => {}), late.promise]);
    timer.stop();
    queue.abandon();
  }

  return {
    start(parent, spanOptions) {
      return new OtlpSpan(tracer, parent === "" ? undefined : contextOf(parent), spanOptions);
    },
    isSampled: (traceparent) => contextOf(traceparent) !== undefined,
    close() {
      closing ??= close();
      return closing;
    },
  };
}

/** The context that a text describes; undefined when it is malformed or not sampled. */
function contextOf(traceparent: string): SpanContext | undefined {
  if (traceparent.length > MAX_TRACEPARENT) return undefined;
  const context = parseTraceParent(traceparent);
  if (context === null || !trace.isSpanContextValid(context)) return undefined;
  const sampled = (context.traceFlags & TraceFlags.SAMPLED) !== 0;
  return sampled ? { ...context, isRemote: true } : undefined;
}

class OtlpSpan implements Span {
  readonly #tracer: Tracer;
  readonly #span: SdkSpan;

  constructor(tracer: Tracer, parent: SpanContext | undefined, options: SpanOptions) {
    const { name, kind, attributes = {}, links = [] } = options;
    this.#tracer = tracer;
    this.#span = tracer.startSpan(
      name,
      {
        kind: KINDS[kind],
        attributes,
        links: links.map((span) => ({ context: contextFor(span) })),
      },
      parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent),
    );
  }

  get traceId(): string {
    return this.#span.spanContext().traceId;
  }

  get spanId(): string {
    return this.#span.spanContext().spanId;
  }

  get traceparent(): string {
    return `00-${this.traceId}-${this.spanId}-01`;
  }

  child(options: SpanOptions): Span {
    return new OtlpSpan(this.#tracer, this.#span.spanContext(), options);
  }

  set(attributes: Attributes): void {
    this.#span.setAttributes(attributes);
  }

  end(error?: unknown): void {
    if (error !== undefined) {
      this.#span.setAttribute("error.type", typeOf(error));
      this.#span.setStatus({ code: SpanStatusCode.ERROR });
    }
    this.#span.end();
  }
}

function contextFor({ traceId, spanId }: Span): SpanContext {
  return { traceId, spanId, traceFlags: TraceFlags.SAMPLED };
}

/** The type of an error. Its message is not exported: it may contain data of a client. */
function typeOf(error: unknown): string {
  if (error instanceof ConnectError) return Code[error.code];
  return error instanceof Error ? error.name : "Error";
}

/** The bounded queue in front of the exporter. It counts exported and dropped spans. */
function exportQueue({ url, log, metrics }: OtlpOptions): {
  readonly processor: SpanProcessor;
  /** Counts the spans that still wait as dropped. */
  abandon(): void;
} {
  const counter = metrics.counter(
    "lucky_trace_spans_total",
    "Spans, by outcome: exported to the collector, or dropped, because it failed or the queue was full.",
    ["outcome"],
  );
  let waiting = 0;
  let abandoned = false;
  let failing = false;
  const count = (outcome: "exported" | "dropped", spans: number) => {
    if (spans > 0) counter.inc({ outcome }, spans);
  };
  const otlp = new OTLPTraceExporter({
    url: `${url.replace(/\/+$/, "")}/v1/traces`,
    timeoutMillis: EXPORT_TIMEOUT_MS,
  });

  function exported(spans: number, error: Error | undefined): void {
    if (abandoned) return;
    waiting -= spans;
    count(error === undefined ? "exported" : "dropped", spans);
    if (error !== undefined && !failing)
      log.warn({ event: "trace_export_failed", spans, err: error });
    if (error === undefined && failing) log.info({ event: "trace_export_recovered" });
    failing = error !== undefined;
  }

  const exporter: SpanExporter = {
    export(spans, done) {
      otlp.export(spans, (result) => {
        const failed = result.code !== ExportResultCode.SUCCESS;
        exported(spans.length, failed ? (result.error ?? new Error("not exported")) : undefined);
        done(result);
      });
    },
    shutdown: () => otlp.shutdown(),
  };
  const batches = new BatchSpanProcessor({
    exporter,
    maxQueueSize: MAX_WAITING,
    maxExportBatchSize: MAX_BATCH,
    scheduledDelayMillis: EXPORT_DELAY_MS,
    exportTimeoutMillis: EXPORT_TIMEOUT_MS * 2,
  });
  return {
    processor: {
      onStart() {},
      onEnd(span: ReadableSpan) {
        if (abandoned || waiting >= MAX_WAITING) return count("dropped", 1);
        waiting++;
        batches.onEnd(span);
      },
      forceFlush: () => batches.forceFlush(),
      shutdown: () => batches.shutdown(),
    },
    abandon() {
      if (abandoned) return;
      abandoned = true;
      count("dropped", waiting);
      if (waiting > 0) log.warn({ event: "trace_spans_dropped", spans: waiting });
    },
  };
}
