import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EntrySchema } from "../../gen/lucky/message/v1/entry_pb.js";
import { AcceptedSchema, SendRequestSchema } from "../../gen/lucky/message/v1/message_pb.js";
import { detailsOf, entryOf, isEntryOf, sendRequest } from "./send-request.ts";

const target = { conversationId: "11" };
const details = {
  ...{ replyTo: 4n, mentions: ["8", "9"], mentionAll: true, silent: true },
  extra: { a: "1", b: "2" },
};

test("a send has its reply, mentions, extra and silence, and so has its entry", () => {
  const request = sendRequest(target, "hi", { clientMessageId: "k", ...details });
  const decoded = fromBinary(SendRequestSchema, toBinary(SendRequestSchema, request));
  const expected = {
    ...{ replyToSequence: 4n, mentionedUserIds: ["8", "9"], mentionAll: true },
    ...{ extra: { a: "1", b: "2" }, silent: true },
  };
  for (const one of [decoded, entryOf(decoded, create(AcceptedSchema))]) {
    const { replyToSequence, mentionedUserIds, mentionAll, extra, silent } = one;
    assert.deepEqual({ replyToSequence, mentionedUserIds, mentionAll, extra, silent }, expected);
  }
  assert.equal(detailsOf(request), 8);
});

test("a send without options is encoded as before they existed", () => {
  const bytes = toBinary(SendRequestSchema, sendRequest(target, "hi", { clientMessageId: "m1" }));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"));
  assert.equal(hex.join(" "), "10 0b 32 02 6d 31 52 06 0a 04 0a 02 68 69");
});

test("an own send that another device edited or recalled before its result is still an own send", () => {
  const request = sendRequest(target, "hi", { clientMessageId: "k" });
  const place = { conversationId: "11", clientMessageId: "k" };
  const other = { kind: { case: "text", value: { text: "edited" } } } as const;
  const edited = create(EntrySchema, { ...place, content: other, state: { changedSequence: 9n } });
  const recalled = create(EntrySchema, place);
  const foreign = create(EntrySchema, { ...place, content: other });
  const entries = [edited, recalled, foreign];
  assert.deepEqual(
    entries.map((entry) => isEntryOf(entry, request)),
    [true, true, false],
  );
});
