import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { systemClock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createHttpSms, type HttpSmsOptions, type SmsBounds } from "./http.ts";
import { smsSuite } from "./sms.suite.ts";
import type { Sms } from "./sms.ts";

const SECRET = "a secret of tests, long enough";
const sms = { phone: "+4915112345678", text: "012345 is your code", smsId: "one" };
const { signal } = new AbortController();
const notSent = (error: unknown) => reasonOf(error) === ErrorReason.SMS_NOT_SENT;

interface Arrived {
  readonly headers: IncomingMessage["headers"];
  readonly method: string | undefined;
  readonly body: string;
}

/** A gateway that responds as the test defines; 200 by default. */
async function startGateway(
  t: TestContext,
  answer = (response: ServerResponse, _n: number) => void response.writeHead(200).end("taken"),
) {
  const arrived: Arrived[] = [];
  const waiting = new Set<() => void>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    arrived.push({ headers: request.headers, method: request.method, body });
    for (const wake of waiting) wake();
    answer(response, arrived.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/sms`,
    arrived,
    /** Waits until `count` requests have arrived. */
    async requests(count: number) {
      while (arrived.length < count) await new Promise<void>((resolve) => waiting.add(resolve));
    },
  };
}

const BOUNDS: SmsBounds = { timeoutMs: 30_000, attempts: 3, budgetMs: 60_000 };

function sender(
  t: TestContext,
  url: string,
  { timeoutMs, attempts, budgetMs, ...options }: Partial<HttpSmsOptions & SmsBounds> = {},
) {
  const given = Object.entries({ timeoutMs, attempts, budgetMs });
  const bounds = Object.fromEntries(given.filter(([, value]) => value !== undefined));
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  const metrics = new Metrics();
  const own = createHttpSms({
    url,
    secret: SECRET,
    bounds: () => ({ ...BOUNDS, ...bounds }),
    clock: systemClock,
    log: createLog({ service: "auth", instanceId: "test", level: "trace", stream }),
    metrics,
    ...options,
  });
  t.after(() => own.close());
  return { send: () => own.send(sms, signal), close: () => own.close(), own, lines, metrics };
}

/** Advances the clock until the promise is settled. */
async function advanceUntil<T>(clock: ManualClock, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = promise.finally(() => {
    settled = true;
  });
  done.catch(() => {});
  while (!settled) {
    clock.advance(50);
    await new Promise(setImmediate);
  }
  return done;
}

smsSuite("http", {
  async open(t) {
    const gateway = await startGateway(t);
    const { own } = sender(t, gateway.url);
    return { sender: own, arrived: () => gateway.arrived.map(({ body }): Sms => JSON.parse(body)) };
  },
});

test("a request is JSON with a signature over its time and body", async (t) => {
  const gateway = await startGateway(t);
  const clock = new ManualClock();
  await sender(t, gateway.url, { clock }).send();
  const [{ headers, method, body }] = gateway.arrived as [Arrived];
  assert.equal(method, "POST");
  assert.equal(headers["content-type"], "application/json");
  assert.equal(headers["lucky-sms-time"], String(clock.now()));
  assert.deepEqual(JSON.parse(body), sms);
  const right = createHmac("sha256", SECRET).update(`${clock.now()}.${body}`).digest("hex");
  assert.equal(headers["lucky-sms-signature"], right);
});

test("a failed attempt is retried under the same id with a new signature", async (t) => {
  const gateway = await startGateway(t, (response, n) => {
    if (n === 1) response.destroy();
    else response.writeHead(n === 2 ? 503 : 202).end();
  });
  const clock = new ManualClock();
  const { send, metrics } = sender(t, gateway.url, { clock });
  await advanceUntil(clock, send());
  const ids = gateway.arrived.map(({ body }) => JSON.parse(body).smsId);
  assert.deepEqual(ids, ["one", "one", "one"]);
  assert.equal(new Set(gateway.arrived.map(({ headers }) => headers["lucky-sms-time"])).size, 3);
  const text = await metrics.text();
  assert.match(text, /lucky_sms_attempts_total\{outcome="failed"\} 2/);
  assert.match(text, /lucky_sms_attempts_total\{outcome="taken"\} 1/);
});

test("a rejected message is not retried, and a redirect is not followed", async (t) => {
  for (const status of [400, 401, 404, 422, 429, 302]) {
    const gateway = await startGateway(t, (response) => {
      response.writeHead(status, { location: "/elsewhere" }).end();
    });
    await assert.rejects(sender(t, gateway.url).send(), notSent);
    assert.equal(gateway.arrived.length, 1, `${status}`);
  }
});

test("the number of attempts is bounded", async (t) => {
  const gateway = await startGateway(t, (response) => void response.writeHead(500).end());
  const clock = new ManualClock();
  await assert.rejects(advanceUntil(clock, sender(t, gateway.url, { clock }).send()), notSent);
  assert.equal(gateway.arrived.length, 3);
});

test("an attempt without a response times out, and the retry may succeed", async (t) => {
  const gateway = await startGateway(t, (response, n) => {
    if (n > 1) response.writeHead(200).end();
  });
  const clock = new ManualClock();
  const sending = sender(t, gateway.url, { clock, timeoutMs: 3_000 }).send();
  await gateway.requests(1);
  assert.equal(gateway.arrived.length, 1);
  clock.advance(2_999);
  await advanceUntil(clock, sending);
  assert.equal(gateway.arrived.length, 2);
});

test("all attempts together stay within their time-out", async (t) => {
  const gateway = await startGateway(t, () => {});
  const clock = new ManualClock();
  const limits = { timeoutMs: 3_000, attempts: 10, budgetMs: 7_000 };
  const sending = sender(t, gateway.url, { clock, ...limits }).send();
  const began = clock.now();
  await assert.rejects(advanceUntil(clock, sending), notSent);
  assert.ok(clock.now() - began <= 7_100, `${clock.now() - began}`);
});

test("a call ends when its caller aborts", async (t) => {
  const gateway = await startGateway(t, () => {});
  const gone = new AbortController();
  const { own } = sender(t, gateway.url);
  const sending = own.send(sms, gone.signal);
  await gateway.requests(1);
  gone.abort();
  await assert.rejects(sending, notSent);
});

test("close waits for the attempt in flight, without retries", async (t) => {
  let answer: ServerResponse | undefined;
  const gateway = await startGateway(t, (response) => {
    answer = response;
  });
  const { send, close } = sender(t, gateway.url);
  const sending = send();
  await gateway.requests(1);
  const closing = close();
  answer!.writeHead(500).end();
  await assert.rejects(sending, notSent);
  await closing;
  assert.equal(gateway.arrived.length, 1);
});

test("neither number nor text nor secret is in a log", async (t) => {
  const gateway = await startGateway(t, (response) => void response.writeHead(500).end(sms.text));
  const clock = new ManualClock();
  const { send, lines } = sender(t, gateway.url, { clock });
  await assert.rejects(advanceUntil(clock, send()), notSent);
  assert.equal(lines.length, 3);
  for (const hidden of [sms.phone, "012345", SECRET])
    assert.ok(lines.every((line) => !line.includes(hidden)));
  assert.match(lines[0]!, /"event":"sms_attempt_failed".*"status":500/);
});

test("an invalid URL is an error at the start", (t) => {
  for (const url of ["", "gateway", "ftp://gateway/"])
    assert.throws(() => sender(t, url), /must be an http/);
});
