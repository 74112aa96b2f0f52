import assert from "node:assert/strict";
import { test } from "node:test";
import { busSuite, Inbox, publish } from "./bus.suite.ts";
import { createMemoryBus, type MemoryBusOptions } from "./memory.ts";

busSuite("memory", {
  async open(t) {
    const bus = createMemoryBus({ closeWaitMs: 20 });
    t.after(() => bus.close());
    return bus;
  },
});

test("a full queue gives its oldest bodies to the dead letters", async (t) => {
  const options: MemoryBusOptions = { maxQueueBytes: 6, closeWaitMs: 20 };
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
