import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ContentSchema } from "../gen/lucky/message/v1/content_pb.js";
import { EntrySchema } from "../gen/lucky/message/v1/entry_pb.js";
import { displayOf } from "./display.ts";

/** A content of a kind that no version knows yet, as a later client would encode it. */
function laterContent(fallbackText: string) {
  const bytes = new BinaryWriter()
    .tag(77, WireType.LengthDelimited)
    .bytes(new Uint8Array([8, 1]))
    .tag(ContentSchema.field.fallbackText.number, WireType.LengthDelimited)
    .string(fallbackText)
    .finish();
  return fromBinary(ContentSchema, bytes);
}

test("an entry of an unknown kind is shown by its fallback text, or not at all", () => {
  const content = laterContent("a poll: lunch?");
  const text = { kind: "text", text: "a poll: lunch?" } as const;
  assert.deepEqual(displayOf(create(EntrySchema, { content })), text);
  assert.deepEqual(displayOf(create(EntrySchema, { content: laterContent("") })), {
    kind: "text",
    text: "",
  });
  assert.deepEqual(displayOf(create(EntrySchema, { content, notShown: true })), {
    kind: "nothing",
  });
});

test("a client that knows the kinds 1 to 5 shows a location by its fallback text", () => {
  const location = { case: "location", value: { latitudeDeg: 1, longitudeDeg: 2 } } as const;
  const entry = create(EntrySchema, { content: { kind: location, fallbackText: "a place" } });
  assert.deepEqual(displayOf(entry), { kind: "content" });
  assert.deepEqual(displayOf(entry, [1, 2, 3, 4, 5]), { kind: "text", text: "a place" });
  const hidden = create(EntrySchema, { content: entry.content, notShown: true });
  assert.deepEqual(displayOf(hidden, [1, 2, 3, 4, 5]), { kind: "nothing" });
  assert.deepEqual(displayOf(hidden), { kind: "content" });
});

test("a recalled message is shown as such, one that was deleted for the user and a change are not", () => {
  const recalled = { userId: "7", atMs: 5n, reason: "" };
  const display = displayOf(create(EntrySchema, { state: { changedSequence: 9n, recalled } }));
  assert.ok(display.kind === "recalled");
  assert.equal(display.recalled.userId, "7");
  const content = { kind: { case: "text", value: { text: "hi" } } } as const;
  const pin = { kind: { case: "pin", value: { targetSequence: 1n } } } as const;
  for (const entry of [
    create(EntrySchema, { state: { recalled, deletedForMe: true } }),
    create(EntrySchema, { content, state: { deletedForMe: true } }),
    create(EntrySchema, { content: pin, notShown: true }),
    create(EntrySchema, { clientMessageId: "blanked" }),
  ])
    assert.deepEqual(displayOf(entry), { kind: "nothing" });
  assert.deepEqual(displayOf(create(EntrySchema, { content, state: { editedAtMs: 1n } })), {
    kind: "content",
  });
});
