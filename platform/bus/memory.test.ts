import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { busSuite, Inbox, publish } from "./bus.suite.ts";
import { createMemoryBus, type MemoryBusOptions } from "./memory.ts";

busSuite("memory", {
  async open(t) {
    const bus = createMemoryBus({ closeTimeoutMs: 20 });
    t.after(() => bus.close());
    return bus;
  },
});

test("a full queue moves its oldest bodies to the dead letters", async (t) => {
  const options: MemoryBusOptions = { maxQueueBytes: 6, closeTimeoutMs: 20 };
  const bus = createMemoryBus(options);
  t.after(() => bus.close());
  await (await bus.consume("connect-a", async () => {})).close();
  for (const body of ["one", "two", "thr"]) await publish(bus, "connect-a", body);
  const letter = Promise.withResolvers<string>();
  await bus.consumeDeadLetters(async ({ reason, body }) => letter.resolve(`${reason} ${body}`));
  assert.equal(await letter.promise, `maxlen ${new TextEncoder().encode("one")}`);
  const inbox = new Inbox();
  await bus.consume("connect-a", inbox.take);
  assert.deepEqual([await inbox.next(), await inbox.next()], ["two", "thr"]);
});

test("the bus keeps no reference to a consumed body", async (t) => {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const bus = createMemoryBus({ closeTimeoutMs: 20 });
  t.after(() => bus.close());
  const taken: WeakRef<Uint8Array>[] = [];
  await bus.consume("connect-a", async (body) => void taken.push(new WeakRef(body)));
  const signal = new AbortController().signal;
  for (let n = 0; n < 100; n++) await bus.publish("connect-a", new Uint8Array(1_000), signal);
  while (taken.length < 100) await new Promise(setImmediate);
  await new Promise(setImmediate);
  collect();
  // A CPU register may still reference the last body, so it is not checked.
  assert.ok(taken.filter((body) => body.deref() !== undefined).length <= 1);
});
