import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { type TestContext, test } from "node:test";
import { create, type DescService, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
} from "#gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionAlpha } from "#gen/grpc/reflection/v1alpha/reflection_pb.js";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { SERVICES } from "#platform/rpc/contract.ts";
import { isInternal } from "#platform/rpc/rules.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { reflectionServices } from "./reflection.ts";

const log = createLog({ service: "gateway", instanceId: "test", level: "silent" });
const shown = SERVICES.filter((service) => !isInternal(service));
const BODY_MS = 30_000;
const ANSWER_MS = 120_000;

type Question = ServerReflectionRequest["messageRequest"];

async function start(t: TestContext) {
  const clock = new ManualClock();
  const metrics = new Metrics();
  const served = reflectionServices({ shown, enabled: () => true });
  const interceptors: never[] = [];
  const common = { host: "127.0.0.1", port: 0, log, metrics, clock, graceMs: 2_000 };
  const server = await listen({ ...common, served, interceptors });
  t.after(() => server.close());
  return { server, clock, metrics, baseUrl: `http://127.0.0.1:${server.port}` };
}

/** A stream of requests and answers, as tools use it: the next request follows the last answer. */
function stream(
  baseUrl: string,
  service: DescService = ServerReflection,
  transport = createGrpcTransport({ baseUrl }),
) {
  const client = createClient(service, transport);
  const waiting = Promise.withResolvers<Question | undefined>();
  let next = waiting;
  async function* requests() {
    for (;;) {
      const messageRequest = await next.promise;
      if (messageRequest === undefined) return;
      next = Promise.withResolvers();
      yield { host: "lucky", messageRequest };
    }
  }
  const info = (client as never as Record<string, (of: unknown) => AsyncIterable<unknown>>)
    .serverReflectionInfo!;
  const answers = info(requests())[Symbol.asyncIterator]();
  return {
    async ask(question: Question): Promise<ServerReflectionResponse["messageResponse"]> {
      next.resolve(question);
      const { value, done } = await answers.next();
      assert.equal(done, false);
      return (value as ServerReflectionResponse).messageResponse;
    },
    /** The error that ends the stream. */
    async failure(): Promise<ConnectError> {
      return answers.next().then(
        () => assert.fail("the stream did not fail"),
        (error: unknown) => ConnectError.from(error),
      );
    },
    end: () => next.resolve(undefined),
  };
}

function filesOf(response: ServerReflectionResponse["messageResponse"]): string[] {
  assert.equal(response.case, "fileDescriptorResponse");
  const { fileDescriptorProto } = response.value as { fileDescriptorProto: Uint8Array[] };
  return fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name);
}

for (const service of [ServerReflection, ServerReflectionAlpha]) {
  test(`${service.typeName} shows the public contract with its imports, and nothing internal`, async (t) => {
    const { baseUrl } = await start(t);
    const { ask, end } = stream(baseUrl, service);
    const list = await ask({ case: "listServices", value: "" });
    assert.equal(list.case, "listServicesResponse");
    const names = (list.value as { service: { name: string }[] }).service.map(({ name }) => name);
    const standard = ["grpc.health.v1.Health", ServerReflection.typeName];
    const all = [...shown.map(({ typeName }) => typeName), ...standard];
    assert.deepEqual(names, [...all, ServerReflectionAlpha.typeName].sort());

    const seen = new Set<string>();
    for (const value of names) {
      for (const name of filesOf(await ask({ case: "fileContainingSymbol", value })))
        seen.add(name);
    }
    assert.ok(seen.has("lucky/auth/v1/auth.proto") && seen.has("google/protobuf/descriptor.proto"));
    assert.deepEqual(
      [...seen].filter((name) => name.includes("internal")),
      [],
    );
    const internal = SERVICES.find(isInternal)!;
    for (const question of [
      { case: "fileContainingSymbol", value: internal.typeName },
      { case: "fileByFilename", value: internal.file.proto.name },
    ] as const) {
      const { case: kind, value } = await ask(question);
      assert.equal(kind, "errorResponse");
      assert.equal((value as { errorCode: number }).errorCode, Code.NotFound);
    }
    end();
  });
}

test("methods, messages, fields, files and extensions are found, and a file is sent once as an import", async (t) => {
  const { baseUrl } = await start(t);
  const { ask, end } = stream(baseUrl);
  const auth = "lucky/auth/v1/auth.proto";
  const first = filesOf(
    await ask({ case: "fileContainingSymbol", value: "lucky.auth.v1.AuthService.Login" }),
  );
  assert.equal(first[0], auth);
  assert.ok(first.includes("buf/validate/validate.proto"));
  for (const value of ["lucky.auth.v1.Device", "lucky.auth.v1.Device.device_id"]) {
    assert.deepEqual(filesOf(await ask({ case: "fileContainingSymbol", value })), [auth]);
  }
  assert.deepEqual(filesOf(await ask({ case: "fileByFilename", value: auth })), [auth]);

  const extended = "google.protobuf.MethodOptions";
  const numbers = await ask({ case: "allExtensionNumbersOfType", value: extended });
  assert.equal(numbers.case, "allExtensionNumbersResponse");
  const { extensionNumber } = numbers.value as { extensionNumber: number[] };
  assert.ok(extensionNumber.includes(50_001));
  const value = { containingType: extended, extensionNumber: 50_001 } as never;
  assert.deepEqual(filesOf(await ask({ case: "fileContainingExtension", value })), [
    "lucky/options/v1/options.proto",
  ]);
  assert.equal((await ask({ case: undefined })).case, "errorResponse");
  end();
});

test("a stream that its caller leaves open ends after 30 s, and at once when the server stops", async (t) => {
  const { baseUrl, clock, metrics, server } = await start(t);
  const question = { case: "listServices", value: "" } as const;
  const left = stream(baseUrl);
  await left.ask(question);
  clock.advance(BODY_MS);
  assert.equal((await left.failure()).code, Code.DeadlineExceeded);
  left.end();
  assert.match(await metrics.text(), /lucky_request_bodies_refused_total\{cause="late"\} 1/);
  const open = stream(baseUrl);
  await open.ask(question);
  const closing = server.close();
  assert.equal((await open.failure()).code, Code.Unavailable);
  open.end();
  await closing;
});

test("streams, their requests and the bytes of a request are bounded, and an ended stream frees its place", async (t) => {
  const { baseUrl } = await start(t);
  const question = { case: "listServices", value: "" } as const;
  const transports = Array.from({ length: 11 }, (_, nr) =>
    createGrpcTransport({ baseUrl, nodeOptions: { localAddress: `127.0.0.${nr + 1}` } as object }),
  );
  const from = (nr: number) => stream(baseUrl, ServerReflection, transports[nr]);
  const streams = Array.from({ length: 10 }, () => from(0));
  await Promise.all(streams.map(({ ask }) => ask(question)));
  await assert.rejects(from(0).ask(question), /too many reflection streams/);
  for (let nr = 1; nr < 10; nr++) streams.push(...Array.from({ length: 10 }, () => from(nr)));
  await Promise.all(streams.slice(10).map(({ ask }) => ask(question)));
  await assert.rejects(from(10).ask(question), /too many reflection streams/);
  const [first, second, third] = streams;
  for (let count = 1; count < 200; count++) await first!.ask(question);
  await assert.rejects(first!.ask(question), /too many requests/);
  const file = { case: "fileByFilename", value: "lucky/auth/v1/auth.proto" } as const;
  const files = streams[3]!;
  const repeated = async () => {
    for (let count = 1; count < 150; count++) await files.ask(file);
  };
  await assert.rejects(repeated(), /too many requests/);
  const large = { case: "fileByFilename", value: "x".repeat(5_000) } as const;
  await assert.rejects(second!.ask(large), { code: Code.InvalidArgument });
  third!.end();
  const next = stream(baseUrl);
  assert.equal((await next.ask(question)).case, "listServicesResponse");
  for (const { end } of [...streams, next]) end();
});

test("a stream whose caller reads no answers is cut after two minutes", async (t) => {
  const { baseUrl, clock } = await start(t);
  const session = connectHttp2(baseUrl, { settings: { initialWindowSize: 0 } });
  t.after(() => session.destroy());
  await once(session, "remoteSettings");
  const open = session.request({
    ":method": "POST",
    ":path": `/${ServerReflection.typeName}/ServerReflectionInfo`,
    "content-type": "application/grpc",
    te: "trailers",
  });
  open.on("error", () => {});
  const question = { case: "fileByFilename", value: "lucky/auth/v1/auth.proto" } as const;
  const request = create(ServerReflectionRequestSchema, { messageRequest: question });
  open.write(encodeEnvelope(0, toBinary(ServerReflectionRequestSchema, request)));
  await once(open, "response");
  clock.advance(ANSWER_MS);
  open.resume();
  await once(open, "close");
});

test("over HTTP/1.1 a tool is told to use HTTP/2", async (t) => {
  const { baseUrl } = await start(t);
  const path = `${baseUrl}/${ServerReflection.typeName}/ServerReflectionInfo`;
  const headers = { "content-type": "application/connect+json" };
  const answer = await fetch(path, { method: "POST", headers, body: "" });
  assert.equal(answer.headers.get("connection"), "close");
  assert.match(await answer.text(), /a stream of requests needs HTTP\/2.*ErrorDetail/);
});
