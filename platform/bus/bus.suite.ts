import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import type { Bus, DeadLetter } from "./bus.ts";

/** Creates the buses of the suite. The time-out of a closing consumer is a few milliseconds. */
export interface BusWorld {
  /** An empty bus, closed when the test ends. */
  open(t: TestContext): Promise<Bus>;
}

/** The tests that every adapter of the bus must pass. */
export function busSuite(name: string, world: BusWorld): void {
  suite(`bus: ${name}`, () => {
    publishTests(world);
    consumerTests(world);
  });
}

function publishTests(world: BusWorld): void {
  test("a body reaches the consumer of its queue, and only that one", async (t) => {
    const bus = await world.open(t);
    const [ana, ben] = [new Inbox(), new Inbox()];
    await bus.consume("connect-a", ana.take);
    await bus.consume("connect-b", ben.take);
    assert.equal(await publish(bus, "connect-a", "for ana"), "confirmed");
    assert.equal(await publish(bus, "connect-b", "for ben"), "confirmed");
    assert.equal(await ana.next(), "for ana");
    assert.equal(await ben.next(), "for ben");
    assert.equal(ana.size + ben.size, 0);
  });

  test("a body for a queue that does not exist is unroutable", async (t) => {
    const bus = await world.open(t);
    assert.equal(await publish(bus, "connect-nowhere", "hello"), "unroutable");
    const inbox = new Inbox();
    await bus.consume("connect-here", inbox.take);
    const both = [publish(bus, "connect-nowhere", "x"), publish(bus, "connect-here", "y")];
    assert.deepEqual(await Promise.all(both), ["unroutable", "confirmed"]);
  });

  test("overlapping publishes arrive in the order of the calls and are consumed one at a time", async (t) => {
    const bus = await world.open(t);
    const bodies = Array.from({ length: 500 }, (_, i) => `${i}`);
    const seen: string[] = [];
    let inProgress = 0;
    const all = Promise.withResolvers<void>();
    await bus.consume("connect-a", async (body) => {
      assert.equal(++inProgress, 1);
      await new Promise(setImmediate);
      inProgress--;
      seen.push(text(body));
      if (seen.length === bodies.length) all.resolve();
    });
    await Promise.all(bodies.map((body) => publish(bus, "connect-a", body)));
    await all.promise;
    assert.deepEqual(seen, bodies);
  });

  test("bodies of any bytes and of a megabyte arrive unchanged", async (t) => {
    const bus = await world.open(t);
    const got = Promise.withResolvers<Uint8Array>();
    await bus.consume("connect-a", async (body) => got.resolve(body));
    const body = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 31) & 255);
    // A view into a larger buffer: the bus may send only the bytes of the view.
    const view = new Uint8Array(new Uint8Array([9, ...body, 9]).buffer, 1, body.length);
    await bus.publish("connect-a", view, AbortSignal.timeout(10_000));
    assert.equal(Buffer.compare(await got.promise, body), 0);
  });

  test("a new queue holds nothing that was published before it existed", async (t) => {
    const bus = await world.open(t);
    await (await bus.consume("connect-a", async () => {})).close();
    await publish(bus, "connect-a", "for another queue");
    assert.equal(await publish(bus, "connect-new", "hello"), "unroutable");
    const inbox = new Inbox();
    await bus.consume("connect-new", inbox.take);
    await publish(bus, "connect-new", "new");
    assert.equal(await inbox.next(), "new");
    assert.equal(inbox.size, 0);
  });

  test("an aborted publish and one on a closed bus are UNAVAILABLE", async (t) => {
    const bus = await world.open(t);
    const aborted = bus.publish("connect-a", bytes("x"), AbortSignal.abort());
    await assert.rejects(aborted, unavailable);
    assert.deepEqual([bus.connected(), bus.ready()], [true, true]);
    await bus.close();
    await bus.close();
    assert.deepEqual([bus.connected(), bus.ready()], [false, false]);
    await assert.rejects(publish(bus, "connect-a", "x"), unavailable);
  });
}

function consumerTests(world: BusWorld): void {
  test("a queue keeps bodies while it has no consumer", async (t) => {
    const bus = await world.open(t);
    const first = await bus.consume("connect-a", async () => {});
    await first.close();
    await first.close();
    assert.equal(await publish(bus, "connect-a", "one"), "confirmed");
    assert.equal(await publish(bus, "connect-a", "two"), "confirmed");
    const inbox = new Inbox();
    await bus.consume("connect-a", inbox.take);
    assert.deepEqual([await inbox.next(), await inbox.next()], ["one", "two"]);
  });

  test("unfinished deliveries of a closed consumer are redelivered in order", async (t) => {
    const bus = await world.open(t);
    const begun = Promise.withResolvers<void>();
    const stuck = await bus.consume("connect-a", () => {
      begun.resolve();
      return new Promise(() => {});
    });
    for (const body of ["one", "two", "three"]) await publish(bus, "connect-a", body);
    await begun.promise;
    await stuck.close();
    const inbox = new Inbox();
    await bus.consume("connect-a", inbox.take);
    const redelivered = [await inbox.next(), await inbox.next(), await inbox.next()];
    assert.deepEqual(redelivered, ["one", "two", "three"]);
  });

  test("a closing consumer finishes the delivery in progress, which is not redelivered", async (t) => {
    const bus = await world.open(t);
    const begun = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const slow = await bus.consume("connect-a", async () => {
      begun.resolve();
      await finish.promise;
    });
    await publish(bus, "connect-a", "one");
    await begun.promise;
    const closed = slow.close();
    finish.resolve();
    await closed;
    await publish(bus, "connect-a", "two");
    const inbox = new Inbox();
    await bus.consume("connect-a", inbox.take);
    assert.equal(await inbox.next(), "two");
  });

  test("a rejected delivery is moved to the dead letters with its reason; later ones are delivered", async (t) => {
    const bus = await world.open(t);
    const letters: DeadLetter[] = [];
    const arrived = Promise.withResolvers<void>();
    await bus.consumeDeadLetters(async (letter) => {
      letters.push(letter);
      arrived.resolve();
    });
    const inbox = new Inbox();
    await bus.consume("connect-a", async (body) => {
      if (text(body) === "bad") throw new Error("no");
      await inbox.take(body);
    });
    await publish(bus, "connect-a", "bad");
    await publish(bus, "connect-a", "good");
    assert.equal(await inbox.next(), "good");
    await arrived.promise;
    const [letter] = letters;
    assert.deepEqual([letter?.queue, letter?.reason], ["connect-a", "rejected"]);
    assert.equal(text(letter!.body), "bad");
  });
}

/** Asserts that an error is the contract's UNAVAILABLE. */
export function unavailable(error: unknown): boolean {
  assert.equal(reasonOf(error), ErrorReason.UNAVAILABLE);
  return true;
}

export const text = (body: Uint8Array): string => Buffer.from(body).toString();
const bytes = (body: string): Uint8Array => new TextEncoder().encode(body);

/** Publishes a text with a long time-out. */
export const publish = (bus: Bus, queue: string, body: string) =>
  bus.publish(queue, bytes(body), AbortSignal.timeout(20_000));

/** Collects the texts that a consumer receives. */
export class Inbox {
  readonly #texts: string[] = [];
  #wake: (() => void) | undefined;

  get size(): number {
    return this.#texts.length;
  }

  readonly take = async (body: Uint8Array): Promise<void> => {
    this.#texts.push(text(body));
    this.#wake?.();
  };

  /** Waits for the oldest unread text and returns it. */
  async next(): Promise<string> {
    while (this.#texts.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#texts.shift()!;
  }
}
