import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { FIXED64, type Field, readVarint, scan } from "#platform/wire.ts";
import type { Teardown } from "./teardown.ts";

/** A span as a collector received it. */
export interface ReceivedSpan {
  /** Name and instance of the process. */
  readonly service: string;
  readonly instanceId: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first span of a trace. */
  readonly parentId: string;
  readonly name: string;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
}

/** A collector of traces: OTLP over HTTP, as protobuf. */
export interface OtlpCollector {
  readonly url: string;
  readonly spans: readonly ReceivedSpan[];
  /** Requests that have arrived. */
  readonly requests: number;
  /** Answers the requests from now on: 200, another status, or nothing. */
  answerWith(answer: number | "nothing"): void;
  /** Waits, at most 60 s, until `holds` returns true; checks it after each request. */
  until(holds: () => boolean): Promise<void>;
}

const WAIT_TIMEOUT_MS = 60_000;

/** Starts a collector on a free port. */
export async function startOtlpCollector(t: Teardown): Promise<OtlpCollector> {
  const spans: ReceivedSpan[] = [];
  const waiting = new Set<() => void>();
  const unanswered = new Set<ServerResponse>();
  let requests = 0;
  let answer: number | "nothing" = 200;
  const server = createServer(async (request, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    requests++;
    const expected = request.method === "POST" && request.url === "/v1/traces";
    const isProtobuf = request.headers["content-type"] === "application/x-protobuf";
    if (!expected || !isProtobuf) response.writeHead(400).end();
    else if (answer === "nothing") unanswered.add(response);
    else {
      if (answer === 200) spans.push(...spansOf(Buffer.concat(chunks)));
      response.writeHead(answer, { "content-type": "application/x-protobuf" }).end();
    }
    for (const wake of waiting) wake();
    waiting.clear();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    // An exporter does not retry after this status.
    for (const response of unanswered) response.writeHead(400).end();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    get requests() {
      return requests;
    },
    answerWith(next) {
      answer = next;
    },
    async until(holds) {
      const late = Promise.withResolvers<never>();
      const timer = setTimeout(() => {
        const names = spans.map(({ service, name }) => `${service}: ${name}`);
        late.reject(new Error(`${requests} requests, ${names.join("; ")}`));
      }, WAIT_TIMEOUT_MS);
      try {
        while (!holds()) {
          const next = new Promise<void>((resolve) => waiting.add(resolve));
          await Promise.race([next, late.promise]);
        }
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** The fields with a number, in their order. */
function fieldsOf(bytes: Buffer, number: number): { field: Field; bytes: Buffer }[] {
  return scan(bytes)
    .filter(([fieldNumber]) => fieldNumber === number)
    .map((field) => ({ field, bytes: bytes.subarray(field[2], field[3]) }));
}

const partOf = (bytes: Buffer, number: number): Buffer =>
  fieldsOf(bytes, number)[0]?.bytes ?? Buffer.alloc(0);

/** Spans of an encoded opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest. */
function spansOf(request: Buffer): ReceivedSpan[] {
  return fieldsOf(request, 1).flatMap(({ bytes: resourceSpans }) => {
    const resource = attributesOf(partOf(resourceSpans, 1), 1);
    return fieldsOf(resourceSpans, 2).flatMap(({ bytes: scopeSpans }) =>
      fieldsOf(scopeSpans, 2).map(({ bytes: span }) => ({
        service: String(resource["service.name"]),
        instanceId: String(resource["service.instance.id"]),
        traceId: partOf(span, 1).toString("hex"),
        spanId: partOf(span, 2).toString("hex"),
        parentId: partOf(span, 4).toString("hex"),
        name: partOf(span, 5).toString(),
        startNs: partOf(span, 7).readBigUInt64LE(),
        endNs: partOf(span, 8).readBigUInt64LE(),
        attributes: attributesOf(span, 9),
        links: fieldsOf(span, 13).map(({ bytes: link }) => ({
          traceId: partOf(link, 1).toString("hex"),
          spanId: partOf(link, 2).toString("hex"),
        })),
      })),
    );
  });
}

/** Attributes in a field of KeyValue: texts and numbers. */
function attributesOf(bytes: Buffer, number: number): Record<string, string | number> {
  return Object.fromEntries(
    fieldsOf(bytes, number).map(({ bytes: pair }) => {
      const value = partOf(pair, 2);
      const [kind] = scan(value);
      const [valueNumber, wireType, start, end] = kind ?? [1, 2, 0, 0];
      const name = partOf(pair, 1).toString();
      if (valueNumber === 3) return [name, readVarint(value, start)];
      if (wireType === FIXED64) return [name, value.readDoubleLE(start)];
      return [name, value.toString("utf8", start, end)];
    }),
  );
}
