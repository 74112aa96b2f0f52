import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Entry, EntrySchema } from "../../gen/lucky/message/v1/entry_pb.js";
import { ConversationMessages } from "./conversation-messages.ts";

const message = (sequence: number, text = `m${sequence}`, changedSequence = 0): Entry =>
  create(EntrySchema, {
    sequence: BigInt(sequence),
    content: { kind: { case: "text", value: { text } } },
    ...(changedSequence > 0 && { state: { changedSequence: BigInt(changedSequence) } }),
  });
const edit = (sequence: number, target: number) =>
  create(EntrySchema, {
    sequence: BigInt(sequence),
    notShown: true,
    content: {
      kind: {
        case: "edit",
        value: {
          targetSequence: BigInt(target),
          change: { case: "text", value: { text: `e${sequence}` } },
        },
      },
    },
  });
const textOf = (entry: Entry | undefined) =>
  entry?.content?.kind.case === "text" ? entry.content.kind.value.text : undefined;
const range = (low: number, high: number, exactTo: number) => {
  return { low: BigInt(low), high: BigInt(high), exactTo: BigInt(exactTo) };
};
const all = { low: 0n, high: 100_000n };

test("a page that was read before a change and arrives after it does not lose the change", () => {
  const messages = new ConversationMessages({ userId: "7" });
  messages.add(edit(11, 3), message(12));
  messages.addPage({ messages: [message(3)], ...range(1, 10, 10) });
  assert.equal(textOf(messages.get(3n)), "e11");
  assert.deepEqual(messages.ranges, [range(1, 12, 12)]);
});

test("a page that arrives after more changes than are kept is not exact, until it is made exact", () => {
  const messages = new ConversationMessages({ userId: "7", maxChanges: 2 });
  messages.add(edit(11, 3), edit(12, 4), edit(13, 4));
  messages.addPage({ messages: [message(3), message(4)], ...range(1, 10, 10) });
  assert.deepEqual(messages.ranges, [range(1, 10, 10), range(11, 13, 13)]);
  assert.deepEqual(messages.list(all).map(textOf), ["m3", "e13"]);
  messages.update([message(3, "e11", 11), message(4, "e13", 13), message(99)]);
  messages.markExact(range(1, 10, 13), 10n);
  assert.deepEqual(messages.list(all).map(textOf), ["e11", "e13"]);
  assert.deepEqual(messages.ranges, [range(1, 13, 13)]);
});

test("messages that a page lacks were deleted for the user, and stay deleted", () => {
  const messages = new ConversationMessages({ userId: "7" });
  messages.add(message(1), message(2), message(3));
  messages.addPage({ messages: [message(1)], ...range(1, 2, 3) });
  messages.deleteForMe([3n, 9n]);
  assert.deepEqual(messages.list(all).map(textOf), ["m1"]);
  messages.add(message(2), message(3));
  messages.addRead([message(2, "m2", 4)]);
  assert.deepEqual(messages.list(all).map(textOf), ["m1"]);
});

test("beyond the maximum the oldest messages are dropped with their ranges", () => {
  const messages = new ConversationMessages({ userId: "7", maxMessages: 3 });
  messages.addPage({ messages: [message(1), message(4)], ...range(1, 5, 9) });
  messages.add(message(10), message(11));
  assert.deepEqual(messages.list(all).map(textOf), ["m4", "m10", "m11"]);
  assert.deepEqual(messages.ranges, [range(2, 5, 11), range(10, 11, 11)]);
  messages.clear();
  assert.deepEqual([messages.list(all), messages.ranges], [[], []]);
  messages.add(message(1));
  assert.deepEqual(messages.list(all).map(textOf), ["m1"]);
});

test("entries with many gaps between them are held in a bounded number of ranges", () => {
  const messages = new ConversationMessages({ userId: "7" });
  for (let sequence = 2; sequence <= 2_000; sequence += 2) messages.add(message(sequence));
  assert.equal(messages.ranges.length, 100);
  assert.equal(messages.list(all).length, 100);
  assert.equal(textOf(messages.list(all).at(-1)), "m2000");
});

test("a page that claims less than it has is refused", () => {
  const messages = new ConversationMessages({ userId: "7" });
  assert.throws(() => messages.addPage({ messages: [], ...range(1, 5, 4) }), RangeError);
});
