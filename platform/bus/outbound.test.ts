import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { text, unavailable } from "./bus.suite.ts";
import { type ConfirmingChannel, Outbound } from "./outbound.ts";

/** A fake broker channel: the test confirms publishes. It keeps no bodies. */
class Broker implements ConfirmingChannel {
  readonly written: string[] = [];
  readonly #confirms = new Map<string, () => void>();

  publish(
    _exchange: string,
    queue: string,
    body: Buffer,
    _options: object,
    confirmed: (refusal: unknown) => void,
  ): boolean {
    const name = `${queue} ${text(body)}`;
    this.written.push(name);
    this.#confirms.set(name, () => confirmed(null));
    return true;
  }

  confirm(...names: string[]): void {
    for (const name of names) this.#confirms.get(name)!();
  }
}

function open() {
  const broker = new Broker();
  const outbound = new Outbound(broker, { exchange: "lucky", maxUnconfirmed: 2, maxWaiting: 10 });
  const neverAborts = new AbortController().signal;
  const publish = (queue: string, body: string, signal = neverAborts) =>
    outbound.publish(queue, Buffer.from(body), signal);
  return { broker, outbound, publish };
}

test("aborted publishes do not block publishes to other queues", async () => {
  const { broker, publish } = open();
  const abort = new AbortController();
  const stuck = ["1", "2"].map((body) => publish("stuck", body, abort.signal));
  const other = publish("sound", "3");
  assert.deepEqual(broker.written, ["stuck 1", "stuck 2"]);
  abort.abort();
  for (const given of stuck) await assert.rejects(given, unavailable);
  assert.deepEqual(broker.written, ["stuck 1", "stuck 2", "sound 3"]);
  broker.confirm("sound 3");
  assert.equal(await other, "confirmed");
});

test("publishes to a queue are rejected until the broker confirms its aborted publishes", async () => {
  const { broker, publish } = open();
  const abort = new AbortController();
  const given = [publish("stuck", "1", abort.signal), publish("stuck", "2", abort.signal)];
  const waiting = publish("stuck", "3");
  abort.abort();
  for (const refused of [...given, waiting, publish("stuck", "4")])
    await assert.rejects(refused, unavailable);
  broker.confirm("stuck 1");
  await assert.rejects(publish("stuck", "5"), unavailable);
  broker.confirm("stuck 2");
  const last = publish("stuck", "6");
  assert.deepEqual(broker.written, ["stuck 1", "stuck 2", "stuck 6"]);
  broker.confirm("stuck 6");
  assert.equal(await last, "confirmed");
});

test("a publish aborted while the broker is blocked does not block its queue afterwards", async () => {
  const { broker, outbound, publish } = open();
  const abort = new AbortController();
  const given = [publish("sound", "1", abort.signal), publish("sound", "2", abort.signal)];
  outbound.block();
  abort.abort();
  for (const refused of given) await assert.rejects(refused, unavailable);
  const waiting = publish("sound", "3");
  outbound.unblock();
  assert.deepEqual(broker.written, ["sound 1", "sound 2", "sound 3"]);
  broker.confirm("sound 1", "sound 2", "sound 3");
  assert.equal(await waiting, "confirmed");
});

test("a publish aborted after its confirm, or before it was written, does not block its queue", async () => {
  const { broker, publish } = open();
  const abort = new AbortController();
  const first = publish("sound", "1", abort.signal);
  broker.confirm("sound 1");
  assert.equal(await first, "confirmed");
  const full = [publish("sound", "2"), publish("sound", "3")];
  const unwritten = publish("sound", "4", abort.signal);
  abort.abort();
  await assert.rejects(unwritten, unavailable);
  broker.confirm("sound 2", "sound 3");
  await Promise.all(full);
  const last = publish("sound", "5");
  broker.confirm("sound 5");
  assert.equal(await last, "confirmed");
});

test("a broken connection ends aborted and pending publishes", async () => {
  const { outbound, broker, publish } = open();
  const abort = new AbortController();
  const given = publish("stuck", "1", abort.signal);
  abort.abort();
  await assert.rejects(given, unavailable);
  const pending = publish("sound", "2");
  outbound.break(new Error("gone"));
  await assert.rejects(pending, unavailable);
  broker.confirm("stuck 1", "sound 2");
  await assert.rejects(publish("sound", "3"), unavailable);
});

test("a body is released when it was written, confirmed or not", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const { outbound } = open();
  const abort = new AbortController();
  const bodies: WeakRef<ArrayBuffer>[] = [];
  const pending = (() => {
    const body = new Uint8Array(1 << 20);
    bodies.push(new WeakRef(body.buffer));
    return outbound.publish("stuck", body, abort.signal);
  })();
  // A WeakRef keeps its target alive until the end of the current job.
  await new Promise(setImmediate);
  collect();
  assert.equal(bodies[0]!.deref(), undefined);
  abort.abort();
  await assert.rejects(pending, unavailable);
});
