import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ContentSchema } from "../../gen/lucky/message/v1/content_pb.js";
import { type Entry, EntrySchema } from "../../gen/lucky/message/v1/entry_pb.js";
import { changeOf, isLine } from "./change.ts";
import { applyChange, newerOf } from "./fold.ts";

type Kind = NonNullable<MessageInitShape<typeof ContentSchema>["kind"]>;

const text = (value: string) => ({ case: "text", value: { text: value } }) as const;
const entry = (sequence: bigint, kind: Kind, more: MessageInitShape<typeof EntrySchema> = {}) =>
  create(EntrySchema, {
    ...{ conversationId: "11", sequence, senderId: "2", acceptedAtMs: sequence * 10n },
    content: create(ContentSchema, { kind } as MessageInitShape<typeof ContentSchema>),
    ...more,
  });
const edit = (sequence: bigint, value: string, more = {}) =>
  entry(sequence, {
    case: "edit",
    value: { targetSequence: 1n, change: text(value), ...more },
  });
const textOf = ({ content }: Entry) =>
  content?.kind.case === "text" ? content.kind.value.text : undefined;

test("an entry is a change, a line of the conversation, or neither", () => {
  const about = { conversationId: "11", sequence: 5n, atMs: 50n, by: "2", targetSequences: [1n] };
  const one = edit(5n, "b", { mentionedUserIds: ["9"], mentionAll: true });
  const edited = { kind: "edit", text: "b", mentions: ["9"], mentionAll: true, superseded: false };
  assert.deepEqual(changeOf(one), { ...about, ...edited, entry: one });
  const recall = entry(5n, { case: "recall", value: { targetSequences: [1n, 3n], reason: "r" } });
  const recalled = { kind: "recall", reason: "r", targetSequences: [1n, 3n], entry: recall };
  assert.deepEqual(changeOf(recall), { ...about, ...recalled });
  for (const kind of ["pin", "unpin"] as const) {
    const pin = entry(5n, { case: kind, value: { targetSequence: 1n } });
    assert.deepEqual(changeOf(pin), { ...about, kind, entry: pin });
  }
  const empty = entry(5n, { case: "edit", value: { targetSequence: 1n } });
  assert.equal((changeOf(empty) as { superseded: boolean }).superseded, true);
  const later = create(EntrySchema, { content: {}, notShown: true });
  const lines = [entry(1n, text("a")), create(EntrySchema, { content: {} }), one, empty, later];
  assert.deepEqual(lines.map(isLine), [true, true, false, false, false]);
});

test("a change that is not newer, or concerns another message, returns the same object", () => {
  const message = entry(1n, text("a"), { state: { changedSequence: 6n } });
  assert.equal(applyChange(message, edit(6n, "b"), "7"), message);
  const other = entry(2n, text("a"));
  assert.equal(applyChange(other, edit(6n, "b"), "7"), other);
  const before = structuredClone(message);
  const after = applyChange(message, edit(7n, "b", { mentionedUserIds: ["9"] }), "7");
  assert.deepEqual([textOf(after), after.mentionedUserIds], ["b", ["9"]]);
  assert.deepEqual([after.state?.changedSequence, after.state?.editedAtMs], [7n, 70n]);
  assert.deepEqual(structuredClone(message), before, "the message itself was changed");
});

test("an edited caption replaces that of the file, and a superseded edit only counts as seen", () => {
  const file = { case: "file", value: { fileName: "f", caption: "a" } } as const;
  const caption = { change: { case: "caption", value: "" } };
  const after = applyChange(entry(1n, file), edit(5n, "", caption), "7");
  const kind = after.content?.kind;
  assert.ok(kind?.case === "file");
  assert.deepEqual([kind.value.fileName, kind.value.caption], ["f", ""]);
  const superseded = entry(6n, { case: "edit", value: { targetSequence: 1n } });
  const seen = applyChange(after, superseded, "7");
  assert.deepEqual(seen.content, after.content);
  assert.deepEqual([seen.state?.changedSequence, seen.state?.editedAtMs], [6n, 50n]);
});

test("a recall leaves nothing that the sender wrote, no reactions and no pin", () => {
  const message = entry(1n, text("a"), {
    ...{ clientMessageId: "k", replyToSequence: 1n, mentionedUserIds: ["9"], extra: { a: "b" } },
    state: { changedSequence: 2n, pinnedSequence: 2n, reactions: [{ emoji: "x", count: 1n }] },
  });
  const recall = entry(5n, { case: "recall", value: { targetSequences: [1n], reason: "r" } });
  const state = { changedSequence: 5n, recalled: { userId: "2", atMs: 50n, reason: "r" } };
  const { conversationId, sequence, senderId, acceptedAtMs } = message;
  const place = { conversationId, sequence, senderId, acceptedAtMs, clientMessageId: "k" };
  const after = applyChange(message, recall, "7");
  assert.deepEqual(after, create(EntrySchema, { ...place, state }));
  assert.equal(textOf(applyChange(after, edit(6n, "b"), "7")), undefined);
});

test("own reactions follow from the deltas, in the order of the server", () => {
  const reactions = (sequence: bigint, ...deltas: [string, string, boolean][]) =>
    entry(sequence, {
      case: "reactions",
      value: {
        targetSequence: 1n,
        counts: [{ emoji: "\u{1f44d}", count: 2n }],
        deltas: deltas.map(([userId, emoji, added]) => ({ userId, emoji, added })),
      },
    });
  const one = reactions(5n, ["7", "\u{1f44d}", true], ["7", "\uff01", true], ["8", "x", true]);
  const after = applyChange(entry(1n, text("a")), one, "7");
  assert.deepEqual(after.state?.myReactions, ["\uff01", "\u{1f44d}"]);
  const removed = applyChange(after, reactions(6n, ["7", "\uff01", false]), "7");
  assert.deepEqual(removed.state?.myReactions, ["\u{1f44d}"]);
  assert.equal(removed.state?.reactions[0]?.count, 2n);
});

test("a read message replaces the held one unless that contains later changes", () => {
  const at = (changedSequence: bigint, more = {}) =>
    entry(1n, text(String(changedSequence)), { state: { changedSequence, ...more } });
  const live = entry(1n, text("live"));
  assert.equal(textOf(newerOf(live, at(0n))), "0");
  assert.equal(textOf(newerOf(at(5n), live)), "5");
  const [held, read] = [at(5n), at(5n)];
  assert.equal(newerOf(held, read), read);
  const deleted = newerOf(at(5n, { deletedForMe: true }), at(6n));
  assert.deepEqual([deleted.content, deleted.state?.deletedForMe], [undefined, true]);
  assert.equal(deleted.state?.changedSequence, 6n);
  const late = newerOf(at(6n), at(0n, { deletedForMe: true }));
  assert.deepEqual([late.content, late.state?.changedSequence], [undefined, 6n]);
});
