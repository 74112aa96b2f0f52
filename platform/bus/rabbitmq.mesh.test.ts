import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { type Channel, connect } from "amqplib";
import { type Backend, startRabbit } from "../../test/backends/backends.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { busSuite, Inbox, publish, text, unavailable } from "./bus.suite.ts";
import type { Bus } from "./bus.ts";
import { createRabbitBus, type RabbitBusOptions } from "./rabbitmq.ts";
import { openWire } from "./wire.fixture.ts";

let server: Backend;
let channel: Channel;
let count = 0;

before(async () => {
  server = await startRabbit();
  const connection = await connect(server.url);
  // The connection breaks when the server stops.
  connection.on("error", () => {});
  channel = await connection.createChannel();
});
after(() => server.close());

for (const quorum of [false, true]) {
  busSuite(`rabbitmq, ${quorum ? "quorum" : "classic"} queues`, {
    async open(t) {
      // All tests use the same queue names: each test starts without these queues.
      const names = ["a", "b", "here", "new"];
      await Promise.all(names.map((name) => channel.deleteQueue(`connect-${name}`)));
      return open(t, { quorum, deadLetters: `lucky.dead.${count++}` });
    },
  });
}

test("publishes fail at once while the broker is down; after a restart it has its bodies and consumers", async (t) => {
  const bus = await open(t);
  const name = queue();
  const inbox = new Inbox();
  const begun = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  await bus.consume(name, async (body) => {
    begun.resolve();
    await finish.promise;
    await inbox.take(body);
  });
  for (const body of ["one", "two", "three"]) await publish(bus, name, body);
  await begun.promise;
  await server.kill();
  await assert.rejects(async () => {
    // The bus detects the kill only after some time.
    for (;;) await publish(bus, name, "lost");
  }, unavailable);
  assert.equal(bus.ready(), false);
  const early = await open(t);
  assert.equal(early.ready(), false);
  const other = queue();
  const waiting = new Inbox();
  await early.consume(other, waiting.take);

  await server.restart();
  await untilReady(bus);
  finish.resolve();
  const first = await inbox.next();
  const second = await inbox.next();
  // The delivery in progress during the kill may be a duplicate.
  const rest =
    second === first ? [await inbox.next(), await inbox.next()] : [second, await inbox.next()];
  assert.deepEqual([first, ...rest], ["one", "two", "three"]);
  await untilReady(early);
  while ((await publish(bus, other, "hello")) === "unroutable") await new Promise(setImmediate);
  assert.equal(await waiting.next(), "hello");
});

test("a cut connection fails unconfirmed publishes; unacknowledged deliveries are redelivered", async (t) => {
  const wire = await openWire(t, server.port);
  const far = await open(t, { url: wire.url });
  const near = await open(t);
  const name = queue();
  const seen: string[] = [];
  const redelivered = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const cut = Promise.withResolvers<void>();
  await far.consume(name, async (body) => {
    seen.push(text(body));
    begun.resolve();
    if (seen.length === 1) await cut.promise;
    if (seen.at(-1) === "three") redelivered.resolve();
  });
  for (const body of ["one", "two", "three"]) await publish(near, name, body);
  await begun.promise;
  wire.pause();
  const unconfirmed = publish(far, name, "four");
  wire.cut();
  await assert.rejects(unconfirmed, unavailable);
  cut.resolve();
  await untilReady(far);
  await redelivered.promise;
  assert.deepEqual(seen, ["one", "one", "two", "three"]);
  assert.equal(await publish(far, name, "five"), "confirmed");
});

test("a broker without free memory delays publishes until it has some, or the signal aborts; consumers go on", async (t) => {
  const bodies = Array.from({ length: 200 }, (_, i) => `${i}`);
  const bus = await open(t);
  const [first, second] = [queue(), queue()];
  const begin = Promise.withResolvers<void>();
  const inbox = new Inbox();
  await bus.consume(first, async (body) => {
    await begin.promise;
    await inbox.take(body);
  });
  await (await bus.consume(second, async () => {})).close();
  for (const name of [first, second])
    await Promise.all(bodies.map((body) => publish(bus, name, body)));
  await ctl("set_vm_memory_high_watermark", "0");
  t.after(() => ctl("set_vm_memory_high_watermark", "0.4"));
  // The broker reports the lack of memory only after a publish.
  const held = bus.publish(first, Buffer.from("held"), AbortSignal.timeout(60_000));
  while (bus.ready()) await new Promise(setImmediate);
  await assert.rejects(
    bus.publish(first, new Uint8Array(1), AbortSignal.timeout(300)),
    unavailable,
  );
  assert.equal(inbox.size, 0);
  begin.resolve();
  for (const body of bodies) assert.equal(await inbox.next(), body);
  const late = await open(t);
  assert.deepEqual([late.connected(), late.ready()], [true, false]);
  await late.consume(second, inbox.take);
  for (const body of bodies) assert.equal(await inbox.next(), body);
  await ctl("set_vm_memory_high_watermark", "0.4");
  assert.equal(await held, "confirmed");
  assert.equal(await inbox.next(), "held");
  assert.equal(bus.ready(), true);
});

test("a queue that exists with other settings is refused with its name", async (t) => {
  const name = queue();
  await (await open(t)).consume(name, async () => {});
  const other = await open(t, { quorum: true, deadLetters: "lucky.dead.other" });
  await assert.rejects(
    other.consume(name, async () => {}),
    new RegExp(`from ${name}`),
  );
  assert.equal(other.ready(), true);
});

test("deleted exchanges and a deleted dead-letter queue stop no delivery and no dead letter", async (t) => {
  const deadLetters = `lucky.dead.${count++}`;
  const operator = await openChannel(t);
  const bus = await open(t, { deadLetters });
  const name = queue();
  const letters = new Inbox();
  await bus.consumeDeadLetters(({ body }) => letters.take(body));
  const inbox = new Inbox();
  await bus.consume(name, async (body) => {
    if (text(body).startsWith("bad")) throw new Error("no");
    await inbox.take(body);
  });
  for (const exchange of ["lucky", deadLetters]) await operator.deleteExchange(exchange);
  await operator.deleteQueue(deadLetters);
  assert.equal(await publish(bus, name, "good"), "confirmed");
  assert.equal(await inbox.next(), "good");
  const arrived = letters.next();
  const tried = new AbortController();
  const bad = async () => {
    for (let i = 0; !tried.signal.aborted; i++) {
      await publish(bus, name, `bad ${i}`);
      await new Promise(setImmediate);
    }
  };
  const trying = bad();
  assert.match(await arrived, /^bad /);
  tried.abort();
  await trying;
});

test("a deleted queue is declared again, and its consumer learns that bodies are lost", async (t) => {
  const bus = await open(t);
  const name = queue();
  const inbox = new Inbox();
  const operator = await openChannel(t);
  const lost = Promise.withResolvers<void>();
  await bus.consume(name, inbox.take, { lost: () => lost.resolve() });
  await operator.deleteQueue(name);
  await lost.promise;
  assert.equal(await publish(bus, name, "hello"), "confirmed");
  assert.equal(await inbox.next(), "hello");
});

test("a queue that was deleted while the connection was down is declared again and reported", async (t) => {
  const wire = await openWire(t, server.port);
  const bus = await open(t, { url: wire.url });
  const operator = await openChannel(t);
  const [kept, deleted] = [queue(), queue()];
  const inbox = new Inbox();
  const lost = Promise.withResolvers<void>();
  await bus.consume(kept, inbox.take, { lost: () => assert.fail("the queue was kept") });
  await bus.consume(deleted, inbox.take, { lost: () => lost.resolve() });
  wire.refuse();
  wire.cut();
  await operator.deleteQueue(deleted);
  wire.accept();
  await lost.promise;
  await untilReady(bus);
  for (const name of [kept, deleted]) assert.equal(await publish(bus, name, name), "confirmed");
  assert.deepEqual(new Set([await inbox.next(), await inbox.next()]), new Set([kept, deleted]));
});

test("a connection that closes while it declares leaves no timer", async (t) => {
  const declareIntervalMs = 86_400_000;
  const started = t.mock.method(globalThis, "setInterval");
  const cleared = t.mock.method(globalThis, "clearInterval");
  const wire = await openWire(t, server.port);
  // Only the declaration of the dead-letter exchange contains this word.
  wire.cutAt("fanout");
  const bus = await open(t, { url: wire.url, declareIntervalMs });
  assert.equal(bus.ready(), false);
  await untilReady(bus);
  await bus.close();
  const ended = new Set(cleared.mock.calls.map((call) => call.arguments[0]));
  const timers = started.mock.calls.filter((call) => call.arguments[1] === declareIntervalMs);
  assert.equal(timers.filter(({ result }) => !ended.has(result)).length, 0);
});

test("a bus that reconnects while it closes leaves no connection", async (t) => {
  const wire = await openWire(t, server.port);
  const bus = await open(t, { url: wire.url, closeTimeoutMs: 60_000 });
  const name = queue();
  const begun = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  await bus.consume(name, async () => {
    begun.resolve();
    await finish.promise;
  });
  await publish(bus, name, "slow");
  await begun.promise;
  const closing = bus.close();
  wire.cut();
  while (bus.ready()) await new Promise(setImmediate);
  await untilReady(bus);
  finish.resolve();
  await closing;
  while (wire.connections > 0) await new Promise(setImmediate);
});

test("a user whose permissions are withdrawn is refused until they are granted again", async (t) => {
  await ctl("add_user", "lucky", "secret");
  const grant = (write: string) => ctl("set_permissions", "lucky", ".*", write, ".*");
  await grant(".*");
  const url = server.url.replace("guest:guest", "lucky:secret");
  const bus = await open(t, { url });
  const name = queue();
  const inbox = new Inbox();
  await bus.consume(name, inbox.take);
  // Reading is still allowed, so the connection is not refused.
  await grant("^lucky.dead$");
  await ctl("close_all_user_connections", "lucky", "reconnect");
  while (bus.ready()) await new Promise(setImmediate);
  await assert.rejects(publish(bus, name, "early"), unavailable);
  assert.equal((await open(t, { url })).ready(), false);
  await grant(".*");
  await untilReady(bus);
  assert.equal(await publish(bus, name, "late"), "confirmed");
  assert.equal(await inbox.next(), "late");
});

/** Opens a channel of an operator. */
async function openChannel(t: TestContext): Promise<Channel> {
  const connection = await connect(server.url);
  t.after(() => connection.close());
  return connection.createChannel();
}

/** Runs rabbitmqctl. */
function ctl(...args: string[]) {
  return promisify(execFile)(join(server.dir, "rabbitmqctl"), args);
}

const queue = () => `connect-${count++}`;

async function open(t: TestContext, options: Partial<RabbitBusOptions> = {}): Promise<Bus> {
  const bus = await createRabbitBus({
    url: server.url,
    log: quiet,
    closeTimeoutMs: 50,
    declareIntervalMs: 50,
    ...options,
  });
  t.after(() => bus.close());
  return bus;
}

async function untilReady(bus: Bus): Promise<void> {
  while (!bus.ready()) await new Promise(setImmediate);
}
