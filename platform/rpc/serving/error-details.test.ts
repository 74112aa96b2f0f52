import assert from "node:assert/strict";
import { request as requestHttp1 } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import { endStreamFromJson, errorFromJsonBytes } from "@connectrpc/connect/protocol-connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { trailerParse } from "@connectrpc/connect/protocol-grpc-web";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf } from "#platform/errors.ts";
import { untilAborted } from "#platform/rpc/rpc.fixture.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { exchange, start } from "./listen.fixture.ts";

interface Answer {
  readonly status: number;
  readonly body: Buffer;
  readonly trailer: Headers;
}

interface Ask {
  readonly path: string;
  readonly type: string;
  readonly body: Uint8Array;
  readonly method?: string;
  readonly headers?: Record<string, string | undefined>;
}

function overHttp1(port: number, ask: Ask): Promise<Answer> {
  const { path, method = "POST", type, headers, body } = ask;
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", path, method, agent: false };
    const sent = requestHttp1({ ...options, headers: { "content-type": type, ...headers } });
    sent.on("error", reject);
    sent.on("response", async (answer) => {
      const received = await buffer(answer);
      resolve({ status: answer.statusCode!, body: received, trailer: new Headers() });
    });
    sent.end(body);
  });
}

async function overHttp2(port: number, ask: Ask): Promise<Answer> {
  const { path, method = "POST", type, headers, body } = ask;
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  const head = { ":method": method, ":path": path, "content-type": type, te: "trailers" };
  const stream = session.request({ ...head, ...headers }, { endStream: false });
  const trailer = new Headers();
  let status = 0;
  stream.on("response", (received) => {
    status = received[":status"]!;
  });
  stream.on("trailers", (received) => {
    for (const [name, value] of Object.entries(received)) trailer.set(name, String(value));
  });
  stream.end(body);
  const received = await buffer(stream);
  session.close();
  return { status, body: received, trailer };
}

function enveloped(message: Uint8Array, flags = 0): Buffer {
  const head = Buffer.from([flags, 0, 0, 0, 0]);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

const fallback = new ConnectError("an answer without an error", Code.Unknown);

function unaryError({ body }: Answer): ConnectError {
  return errorFromJsonBytes(body, undefined, fallback);
}

/** A way to call, with a codec and a protocol. */
interface Door {
  readonly type: string;
  readonly send: (port: number, ask: Ask) => Promise<Answer>;
  readonly wrap: (message: Uint8Array) => Uint8Array;
  /** Reads the error of an answer. */
  readonly errorOf: (answer: Answer) => ConnectError | undefined;
  readonly json: boolean;
  /** A method whose answer is a stream, else one of unary calls. */
  readonly stream?: boolean;
}

const bare = (message: Uint8Array) => message;
/** The last message of a body in envelopes. */
function lastMessage({ body }: Answer): Buffer {
  for (let at = 0; ; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    if (end === body.length) return body.subarray(at + 5);
    at = end;
  }
}

const inStream = (answer: Answer) => endStreamFromJson(lastMessage(answer)).error;
const inTrailer = ({ trailer }: Answer) => findTrailerError(trailer);
const inBody = (answer: Answer) => findTrailerError(trailerParse(lastMessage(answer)));

const doors: Record<string, Door> = {
  "Connect in JSON": {
    ...{ type: "application/json", send: overHttp1, wrap: bare },
    ...{ errorOf: unaryError, json: true },
  },
  "Connect in proto": {
    ...{ type: "application/proto", send: overHttp2, wrap: bare },
    ...{ errorOf: unaryError, json: false },
  },
  "a stream of Connect in JSON": {
    ...{ type: "application/connect+json", send: overHttp1, wrap: enveloped },
    ...{ errorOf: inStream, json: true, stream: true },
  },
  "a stream of Connect in proto": {
    ...{ type: "application/connect+proto", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inStream, json: false, stream: true },
  },
  gRPC: {
    ...{ type: "application/grpc", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inTrailer, json: false },
  },
  "gRPC in JSON": {
    ...{ type: "application/grpc+json", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inTrailer, json: true },
  },
  "a stream of gRPC": {
    ...{ type: "application/grpc+proto", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inTrailer, json: false, stream: true },
  },
  "gRPC-Web over HTTP/1.1": {
    ...{ type: "application/grpc-web+proto", send: overHttp1, wrap: enveloped },
    ...{ errorOf: inBody, json: false },
  },
  "a stream of gRPC-Web over HTTP/2": {
    ...{ type: "application/grpc-web+json", send: overHttp2, wrap: enveloped },
    ...{ errorOf: inBody, json: true, stream: true },
  },
};

const AUTH = "/lucky.auth.v1.AuthService/";
const BATCH_GET_USERS = "/lucky.user.v1.UserService/BatchGetUsers";

/** An incorrect call through a door: how it differs from a correct one, and its error. */
interface Fault {
  readonly reason: ErrorReason;
  readonly code: Code;
  readonly field?: string;
  /** Whether a retry may help. */
  readonly retry?: boolean;
  readonly ask: (door: Door, right: Ask) => Partial<Ask> | undefined;
}

const INVALID = { reason: ErrorReason.INVALID_ARGUMENT, code: Code.InvalidArgument };
const NOT_SERVED = { reason: ErrorReason.METHOD_NOT_FOUND, code: Code.Unimplemented };

const faults: Record<string, Fault> = {
  "an unknown method": { ...NOT_SERVED, ask: () => ({ path: `${AUTH}Nothing` }) },
  "an unknown service": { ...NOT_SERVED, ask: () => ({ path: "/lucky.Nobody/Nothing" }) },
  "a method that is not implemented": { ...NOT_SERVED, ask: fault("none") },
  "bytes that are not the request": {
    ...INVALID,
    ask: ({ json, wrap }) => ({ body: wrap(Buffer.from(json ? "{" : "\xff", "latin1")) }),
  },
  "a request that is too large": {
    ...INVALID,
    ask: ({ wrap }) => ({ body: wrap(Buffer.alloc(20_000, " ")) }),
  },
  "a request with too many fields": {
    ...INVALID,
    ask: ({ json, wrap }) => ({
      body: wrap(json ? Buffer.from(`[${"1,".repeat(6_000)}1]`) : Buffer.alloc(12_000, "\x08\x01")),
    }),
  },
  "no request": {
    ...INVALID,
    ask: ({ wrap }) => (wrap === bare ? undefined : { body: Buffer.alloc(0) }),
  },
  "two requests": {
    ...INVALID,
    ask: ({ wrap }, { body }) =>
      wrap === bare ? undefined : { body: Buffer.concat([body, body]) },
  },
  "half a request": {
    ...INVALID,
    ask: ({ wrap }, { body }) => (wrap === bare ? undefined : { body: body.subarray(0, 4) }),
  },
  "a constraint that the request breaks": {
    ...INVALID,
    field: "device_id",
    ask: ({ json, wrap, stream }) => {
      if (!stream) return undefined;
      const request = { qrLoginId: "i".repeat(22), secret: "s".repeat(43), deviceId: "ä" };
      const proto = `\x0a\x16${request.qrLoginId}\x12\x2b${request.secret}\x1a\x02\xc3\xa4`;
      return {
        body: wrap(json ? Buffer.from(JSON.stringify(request)) : Buffer.from(proto, "latin1")),
      };
    },
  },
  "a compressed request": {
    ...NOT_SERVED,
    ask: ({ wrap }, { body }) =>
      wrap === bare
        ? { headers: { "content-encoding": "gzip" }, body: gzipSync(body) }
        : {
            headers: { "grpc-encoding": "gzip", "connect-content-encoding": "gzip" },
            body: enveloped(gzipSync(body.subarray(5)), 1),
          },
  },
  "an unknown compression": {
    ...NOT_SERVED,
    ask: ({ wrap }, { body }) =>
      wrap === bare
        ? { headers: { "content-encoding": "zip" } }
        : { headers: { "grpc-encoding": "zip" }, body: enveloped(body.subarray(5), 1) },
  },
  "a deadline that cannot be read": {
    ...INVALID,
    ask: () => ({ headers: { "connect-timeout-ms": "soon", "grpc-timeout": "soon" } }),
  },
  "a deadline that passes": {
    reason: ErrorReason.DEADLINE_EXCEEDED,
    code: Code.DeadlineExceeded,
    retry: true,
    ask: () => ({
      headers: { "x-fault": "wait", "connect-timeout-ms": "1", "grpc-timeout": "1m" },
    }),
  },
  "a call that is cancelled": {
    reason: ErrorReason.CANCELED,
    code: Code.Canceled,
    ask: fault("cancel"),
  },
  "a fault of the server": {
    reason: ErrorReason.INTERNAL,
    code: Code.Internal,
    ask: fault("throw"),
  },
  "an outage of a part": {
    reason: ErrorReason.UNAVAILABLE,
    code: Code.Unavailable,
    retry: true,
    ask: fault("away"),
  },
  "no token": {
    reason: ErrorReason.TOKEN_INVALID,
    code: Code.Unauthenticated,
    ask: ({ stream }) => (stream ? undefined : { path: BATCH_GET_USERS }),
  },
  "an internal method": {
    reason: ErrorReason.PERMISSION_DENIED,
    code: Code.PermissionDenied,
    ask: () => ({ path: "/lucky.internal.session.v1.SessionService/CheckUsers" }),
  },
};

function fault(kind: string): Fault["ask"] {
  return () => ({ headers: { "x-fault": kind } });
}

async function work(fault: string | null, signal: AbortSignal): Promise<object> {
  switch (fault) {
    case "wait":
      return untilAborted(signal);
    case "cancel":
      throw new ConnectError("cancelled", Code.Canceled);
    case "throw":
      throw new TypeError("a bug");
    case "away":
      throw new ConnectError("away", Code.Unavailable);
    case "none":
      throw new ConnectError("not implemented", Code.Unimplemented);
    default:
      return {};
  }
}

/** The methods of AuthService that the test calls: one unary, one with a stream. */
const auth = {
  getPublicKey: (_request: unknown, context: { requestHeader: Headers; signal: AbortSignal }) =>
    work(context.requestHeader.get("x-fault"), context.signal),
  async *watchQrLogin(
    _request: unknown,
    context: { requestHeader: Headers; signal: AbortSignal },
  ): AsyncGenerator<object> {
    yield await work(context.requestHeader.get("x-fault"), context.signal);
  },
};

const WATCH = { qrLoginId: "i".repeat(22), secret: "s".repeat(43), deviceId: "d1" };
const WATCH_PROTO = Buffer.from(`\x0a\x16${WATCH.qrLoginId}\x12\x2b${WATCH.secret}\x1a\x02d1`);

/** A call that the server answers. */
function rightCall({ json, stream, type, wrap }: Door): Ask {
  const message = stream ? Buffer.from(JSON.stringify(WATCH)) : Buffer.from("{}");
  const proto = stream ? WATCH_PROTO : Buffer.alloc(0);
  const path = `${AUTH}${stream ? "WatchQrLogin" : "GetPublicKey"}`;
  return { path, type, body: wrap(json ? message : proto) };
}

for (const [name, door] of Object.entries(doors)) {
  test(`every error over ${name} has a detail`, async (t) => {
    const { port } = await start(t, { service: { auth } });
    const right = rightCall(door);
    const good = await door.send(port, right);
    assert.equal(good.status, 200);
    if (door.errorOf !== unaryError) assert.equal(door.errorOf(good), undefined);
    for (const [title, { reason, code, field = "", retry = false, ask }] of Object.entries(
      faults,
    )) {
      const wrong = ask(door, right);
      if (wrong === undefined) continue;
      const error = door.errorOf(await door.send(port, { ...right, ...wrong }));
      const detail = detailOf(error);
      assert.ok(error && detail, `${title}: ${error}`);
      const seen = [title, ErrorReason[detail.reason], Code[error.code], detail.field];
      assert.deepEqual(seen, [title, ErrorReason[reason], Code[code], field]);
      assert.equal(detail.retryAfterMs > 0n, retry, title);
    }
  });
}

test("a request that is no call of a known protocol gets a status, and the error in JSON", async (t) => {
  const { port } = await start(t, { service: { auth } });
  const path = `${AUTH}GetPublicKey`;
  const body = Buffer.from("{}");
  const post = { path, body, type: "application/json" };
  const get = { ...post, body: Buffer.alloc(0), method: "GET" };
  const asks: [status: number, reason: ErrorReason, ask: Ask][] = [
    [405, ErrorReason.METHOD_NOT_FOUND, { ...get, path }],
    [415, ErrorReason.METHOD_NOT_FOUND, { ...post, type: "text/html" }],
    [415, ErrorReason.METHOD_NOT_FOUND, { ...post, type: "application/grpc-web-text" }],
    [415, ErrorReason.METHOD_NOT_FOUND, { ...post, type: "application/grpc-web-text+proto" }],
    [415, ErrorReason.METHOD_NOT_FOUND, { ...post, type: "application/grpc+thrift" }],
    [404, ErrorReason.METHOD_NOT_FOUND, { ...post, path: "/nothing", type: "text/html" }],
    [404, ErrorReason.METHOD_NOT_FOUND, { ...get, path: "/nothing" }],
  ];
  for (const [status, reason, ask] of asks) {
    for (const send of [overHttp1, overHttp2]) {
      const answer = await send(port, ask);
      assert.deepEqual([answer.status, detailOf(unaryError(answer))?.reason], [status, reason]);
    }
  }
  const many = Object.fromEntries(Array.from({ length: 120 }, (_, n) => [`x-${n}`, "1"]));
  const answer = await overHttp1(port, { ...post, headers: many });
  assert.equal(answer.status, 431);
  assert.equal(detailOf(unaryError(answer))?.reason, ErrorReason.INVALID_ARGUMENT);
});

test("a request that Node cannot read gets the error in JSON", async (t) => {
  const { port } = await start(t);
  const requests: [status: number, request: string][] = [
    [400, `POST ${AUTH}GetJwks HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n`],
    [400, `POST ${AUTH}GetJwks HTTP/1.1\r\nConnection: close\r\n\r\n`],
    [400, "HELLO\r\n\r\n"],
    [431, `POST ${AUTH}GetJwks HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`],
  ];
  for (const [status, request] of requests) {
    const [head, body] = (await exchange(port, request)).split("\r\n\r\n");
    assert.match(head!, new RegExp(`^HTTP/1.1 ${status} `));
    const answer = { status, body: Buffer.from(body!), trailer: new Headers() };
    assert.equal(detailOf(unaryError(answer))?.reason, ErrorReason.INVALID_ARGUMENT, request);
  }
});

test("the 429 of an address with too many refusals has a detail over every protocol", async (t) => {
  const clock = new ManualClock();
  const service = { clock, refusalsPerSecond: 1, auth };
  const { port } = await start(t, { clock, service });
  const door = doors["Connect in JSON"]!;
  const wrong = { ...rightCall(door), path: "/nothing" };
  while ((await door.send(port, wrong)).status === 404);
  for (const door of Object.values(doors)) {
    for (const path of ["/nothing", rightCall(door).path]) {
      const error = door.errorOf(await door.send(port, { ...rightCall(door), path }));
      const detail = detailOf(error);
      assert.equal(detail?.reason, ErrorReason.RATE_LIMITED);
      assert.ok(detail.retryAfterMs > 0n);
    }
  }
});

test("a deadline of 2^31 ms or more waits over every protocol", async (t) => {
  let left = 0;
  const { port } = await start(t, {
    service: {
      auth: {
        getPublicKey(_request, { timeoutMs }) {
          left = timeoutMs() ?? 0;
          return {};
        },
      },
    },
  });
  const ask = async (name: string, headers: Record<string, string>) => {
    const door = doors[name]!;
    assert.equal((await door.send(port, { ...rightCall(door), headers })).status, 200);
    assert.ok(left > 2 ** 31 - 60_000 && left < 2 ** 31, `${JSON.stringify(headers)}: ${left}`);
  };
  for (const ms of ["2147483647", "2147483648", "9999999999", "99999999999"]) {
    await ask("Connect in JSON", { "connect-timeout-ms": ms });
  }
  for (const timeout of ["2147483647m", "2147483648m", "2147484S", "99999999H"]) {
    await ask("gRPC", { "grpc-timeout": timeout });
    await ask("gRPC-Web over HTTP/1.1", { "grpc-timeout": timeout });
  }
});
