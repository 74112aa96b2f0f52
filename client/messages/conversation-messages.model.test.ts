import assert from "node:assert/strict";
import { test } from "node:test";
import { equals, toJson } from "@bufbuild/protobuf";
import fc from "fast-check";
import { type Entry, EntrySchema } from "../../gen/lucky/message/v1/entry_pb.js";
import { ConversationMessages } from "./conversation-messages.ts";
import { type Event, LogModel } from "./log-model.fixture.ts";

const ME = "7";
const EMOJIS = ["👍", "❤️", "\uff01", "🎉"];
const RUNS = 300;

/** A step of a run. Numbers choose among what there is, modulo its number. */
type Step =
  | { readonly kind: "event"; readonly event: Event }
  /** The bus sends an entry, now or again; it arrives later. */
  | { readonly kind: "send"; readonly entry: number }
  /** A call is answered; the answer arrives later. */
  | { readonly kind: "page"; readonly before: number; readonly size: number }
  | { readonly kind: "get"; readonly message: number }
  | { readonly kind: "changed"; readonly range: number }
  /** Something that was sent arrives, not always the first. */
  | { readonly kind: "arrive"; readonly which: number }
  /** All entries that were not sent yet are sent in order, and arrive. */
  | { readonly kind: "flow" }
  /** The entries up to now are skipped by the next flow. */
  | { readonly kind: "jump" };

const index = fc.nat(1_000);
const emojis = fc.uniqueArray(fc.constantFrom(...EMOJIS), { maxLength: 3 });
const user = fc.oneof(fc.constant(Number(ME)), fc.integer({ min: 1, max: 6 }));
const sets = fc.uniqueArray(fc.record({ user, emojis }), {
  ...{ minLength: 1, maxLength: 4 },
  selector: (set) => set.user,
});
const message = fc.oneof({ weight: 3, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: index });
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom("send", "image", "tip", "unknown") }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom("edit", "edit", "pin", "unpin"), message }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("react"), message, sets }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("recall"),
      messages: fc.array(index, { minLength: 1, maxLength: 3 }),
    }),
  },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("event"), event }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("send"), entry: index }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("page"),
      before: index,
      size: fc.integer({ min: 1, max: 6 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("get"), message: index }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("changed"), range: index }) },
  { weight: 9, arbitrary: fc.record({ kind: fc.constant("arrive"), which: index }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("flow", "flow", "jump") }) },
);

/** One device of a conversation, and what is on its way to it. */
class Run {
  readonly model = new LogModel(ME);
  readonly device: ConversationMessages;
  readonly #underWay: (() => void)[] = [];
  #sentTo = 0n;

  constructor(options: { maxChanges: number; maxMessages: number }) {
    this.device = new ConversationMessages({ userId: ME, ...options });
  }

  take(one: Step): void {
    const { model, device } = this;
    const last = model.lastSequence;
    switch (one.kind) {
      case "event":
        model.take(one.event);
        return;
      case "send":
        if (last > 0n) this.#send(1n + (BigInt(one.entry) % last));
        return;
      case "page": {
        const page = model.before(1n + (BigInt(one.before) % (last + 1n)), one.size);
        this.#underWay.push(() => device.addPage(page));
        return;
      }
      case "get": {
        const { lines } = model;
        if (lines.length === 0) return;
        const read = model.read(lines[one.message % lines.length]!);
        this.#underWay.push(() => device.addRead([read]));
        return;
      }
      case "changed":
        this.#changed(one.range);
        return;
      case "arrive":
        this.#underWay.splice(one.which % (this.#underWay.length || 1), 1)[0]?.();
        return;
      case "flow":
        while (this.#sentTo < last) device.add(model.delivered(++this.#sentTo));
        return;
      case "jump":
        this.#sentTo = last;
    }
  }

  /** All that is under way arrives; the device gets what it lacks by the whole log, or by a jump. */
  finish(catchUp: "log" | "jump"): void {
    const { model, device } = this;
    const last = model.lastSequence;
    for (const arrive of this.#underWay.splice(0)) arrive();
    if (catchUp === "log") for (let at = last; at > 0n; at--) device.add(model.read(at));
    for (const { low, high, exactTo: after } of device.ranges) {
      if (after >= last) continue;
      device.update(model.changed({ low, high, after }));
      device.markExact({ low, high, exactTo: last }, after);
    }
    if (catchUp === "log") return;
    for (let before = last + 1n; before > 1n; ) {
      const page = model.before(before, 5);
      device.addPage(page);
      before = page.low;
    }
  }

  /** Checks what the ranges promise. */
  check(): void {
    const { model, device } = this;
    for (const { low, high, exactTo } of device.ranges) {
      assert.ok(low <= high && high <= exactTo && exactTo <= model.lastSequence);
      for (const line of model.lines) {
        if (line < low || line > high) continue;
        const held = device.get(line);
        assert.ok(held, `the message ${line} is missing in ${low}..${high}`);
        if (model.changedSequence(line) <= exactTo) same(held, model.read(line));
      }
    }
  }

  #send(sequence: bigint): void {
    const entry = this.model.delivered(sequence);
    this.#underWay.push(() => this.device.add(entry));
  }

  #changed(at: number): void {
    const { model, device } = this;
    const range = device.ranges[at % (device.ranges.length || 1)];
    if (!range) return;
    const { low, high, exactTo: after } = range;
    const exactTo = model.lastSequence;
    const messages = model.changed({ low, high, after });
    this.#underWay.push(() => {
      device.update(messages);
      device.markExact({ low, high, exactTo }, after);
    });
  }
}

function same(held: Entry, expected: Entry): void {
  if (equals(EntrySchema, held, expected)) return;
  assert.deepEqual(toJson(EntrySchema, held), toJson(EntrySchema, expected));
}

for (const catchUp of ["log", "jump"] as const) {
  test(`a device shows what the model says after shuffled, repeated and late frames and pages, by ${catchUp}`, () => {
    const property = fc.property(
      fc.array(step, { maxLength: 120, size: "max" }),
      fc.constantFrom(1, 3, 1_000),
      (steps, maxChanges) => {
        const run = new Run({ maxChanges, maxMessages: 10_000 });
        for (const one of steps) {
          run.take(one);
          run.check();
        }
        run.finish(catchUp);
        run.check();
        const { device, model } = run;
        const last = model.lastSequence;
        if (last === 0n) return;
        assert.deepEqual(device.ranges, [{ low: 1n, high: last, exactTo: last }]);
        const shown = device.list({ low: 1n, high: last });
        assert.deepEqual(
          shown.map(({ sequence }) => sequence),
          model.lines,
        );
        for (const held of shown) same(held, model.read(held.sequence));
      },
    );
    // The error names the seed and the path of a failure.
    fc.assert(property, { seed: Number(process.env.LUCKY_SEED ?? 11), numRuns: RUNS });
  });
}
