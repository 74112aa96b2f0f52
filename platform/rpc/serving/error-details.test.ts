import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf } from "#platform/errors.ts";
import { untilAborted } from "#platform/rpc/rpc.fixture.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import {
  type Ask,
  AUTH,
  bare,
  type Door,
  doors,
  enveloped,
  overHttp1,
  overHttp2,
  rightCall,
  unaryError,
} from "./doors.fixture.ts";
import { exchange, start } from "./listen.fixture.ts";

const BATCH_GET_USERS = "/lucky.user.v1.UserService/BatchGetUsers";

/** An incorrect call through a door: how it differs from a correct one, and its error. */
interface Fault {
  readonly reason: ErrorReason;
  readonly code: Code;
  readonly field?: string;
  readonly text?: RegExp;
  /** Whether a retry may help. */
  readonly retry?: boolean;
  readonly ask: (door: Door, right: Ask) => Partial<Ask> | undefined;
}

const INVALID = { reason: ErrorReason.INVALID_ARGUMENT, code: Code.InvalidArgument };
const NOT_SERVED = { reason: ErrorReason.METHOD_NOT_FOUND, code: Code.Unimplemented };

const faults: Record<string, Fault> = {
  "an unknown method": { ...NOT_SERVED, ask: () => ({ path: `${AUTH}Nothing` }) },
  "an unknown service": { ...NOT_SERVED, ask: () => ({ path: "/lucky.Nobody/Nothing" }) },
  "an UNIMPLEMENTED error of a handler": { ...NOT_SERVED, ask: fault("none") },
  "bytes that are not the request": {
    ...INVALID,
    ask: ({ json, wrap }) => ({ body: wrap(Buffer.from(json ? "{" : "\xff", "latin1")) }),
  },
  "a request that is too large": {
    ...INVALID,
    text: /the request has more than \d+ bytes/,
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
      throw new ConnectError("a handler without a detail", Code.Unimplemented);
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

for (const [name, door] of Object.entries(doors)) {
  test(`every error over ${name} has a detail`, async (t) => {
    const { port } = await start(t, { service: { auth } });
    const right = rightCall(door);
    const good = await door.send(port, right);
    assert.equal(good.status, 200);
    if (door.errorOf !== unaryError) assert.equal(door.errorOf(good), undefined);
    for (const [
      title,
      { reason, code, field = "", text = /./, retry = false, ask },
    ] of Object.entries(faults)) {
      const wrong = ask(door, right);
      if (wrong === undefined) continue;
      const error = door.errorOf(await door.send(port, { ...right, ...wrong }));
      const detail = detailOf(error);
      assert.ok(error && detail, `${title}: ${error}`);
      const seen = [title, ErrorReason[detail.reason], Code[error.code], detail.field];
      assert.deepEqual(seen, [title, ErrorReason[reason], Code[code], field]);
      assert.equal(detail.retryAfterMs > 0n, retry, title);
      assert.match(error.rawMessage, text, title);
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
