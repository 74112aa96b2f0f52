import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { WireWriter } from "#platform/wire.ts";
import { contentOf, request, toUser } from "../server.fixture.ts";
import { sendReader } from "./read-send.ts";
import type { Send } from "./send.ts";

const read = sendReader();
const valid = (send: Uint8Array): Send => {
  const result = read({ senderId: "1", sessionId: "s", send });
  assert.ok(!("refusal" in result), Buffer.from(send).toString("hex"));
  return result;
};
const refused = (send: Uint8Array, text: string) => {
  const result = read({ senderId: "1", sessionId: "s", send });
  assert.ok("refusal" in result, text);
  return `${result.clientMessageId}: ${result.refusal.text}`;
};
const good = request({ target: toUser("2"), clientMessageId: "key", content: contentOf("hello") });

test("fields that a sender must not write are dropped", () => {
  const stored = Buffer.from(valid(good).fields);
  const { reservedRange } = SendRequestSchema.proto;
  const reserved = reservedRange.flatMap(({ start = 0, end = 0 }) =>
    Array.from({ length: end - start }, (_, at) => start + at),
  );
  assert.deepEqual(reserved, [3, 4, 5, 7, 8, 9, 16, 17]);
  for (const number of [...reserved, 18, 200]) {
    for (const forged of [
      new WireWriter().varint(number, 1).finish(),
      new WireWriter().string(number, "of a later version").finish(),
    ])
      for (const bytes of [Buffer.concat([forged, good]), Buffer.concat([good, forged])])
        assert.deepEqual(Buffer.from(valid(bytes).fields), stored, `field ${number}`);
  }
  // The server sets the other fields of Entry: a send must not have a number of theirs.
  const sent = new Set(SendRequestSchema.fields.map(({ number }) => number));
  for (const { number, name } of EntrySchema.fields)
    assert.ok(reserved.includes(number) || sent.has(number), name);
});

const extras: {
  replyToSequence: bigint;
  mentionedUserIds: string[];
  mentionAll: boolean;
  extra: Record<string, string>;
  silent: boolean;
} = {
  replyToSequence: 7n,
  mentionedUserIds: ["3", "4"],
  mentionAll: true,
  extra: { color: "red", size: "" },
  silent: true,
};

test("the entry takes over the reply, the mentions, the data and silent, and the send has what is checked", () => {
  const init = { target: toUser("2"), clientMessageId: "key", content: contentOf("hello") };
  const bytes = request({ ...init, ...extras });
  const { fields, replyTo, mentions, keyStart, keyLength } = valid(bytes);
  assert.deepEqual(Buffer.from(fields), Buffer.from(bytes.subarray(2)), "byte by byte");
  assert.equal(Buffer.from(fields).toString("latin1", keyStart, keyStart + keyLength), "key");
  const entry = fromBinary(EntrySchema, fields);
  for (const [name, value] of Object.entries(extras))
    assert.deepEqual(entry[name as keyof typeof extras], value, name);
  assert.equal(replyTo, 7n);
  assert.deepEqual(mentions, { userIds: ["3", "4"], all: true });
  assert.deepEqual(valid(request({ ...init, mentionAll: true })).mentions, {
    userIds: [],
    all: true,
  });
  for (const plain of [good, request({ ...init, extra: { a: "b" }, silent: true })]) {
    assert.equal(valid(plain).replyTo, undefined);
    assert.equal(valid(plain).mentions, undefined);
  }
  // The fields of the sender around one that the entry does not take over.
  const forged = Buffer.concat([
    request({ silent: true }),
    new WireWriter().bytes(9, new WireWriter().varint(1, 99).finish()).finish(),
    bytes.subarray(0, -2),
  ]);
  const kept = fromBinary(EntrySchema, valid(forged).fields);
  assert.equal(kept.origin, undefined);
  assert.equal(kept.silent, true);
  assert.equal(kept.replyToSequence, 7n);
});

test("replies, mentions and data beyond the bounds of the contract are refused", () => {
  const init = { target: toUser("2"), clientMessageId: "key", content: contentOf("hello") };
  const ids = (count: number) => Array.from({ length: count }, (_, at) => `${at + 1}`);
  const pairs = (count: number) => Object.fromEntries(ids(count).map((id) => [id, "v"]));
  valid(request({ ...init, mentionedUserIds: ids(50), extra: pairs(16) }));
  valid(request({ ...init, extra: { ["k".repeat(64)]: "ü".repeat(256) } }));
  const bad: [Partial<typeof extras>, field: string][] = [
    [{ replyToSequence: -1n }, "reply_to_sequence"],
    [{ replyToSequence: 2n ** 53n }, "reply_to_sequence"],
    [{ mentionedUserIds: ids(51) }, "mentioned_user_ids"],
    [{ mentionedUserIds: ["3", "3"] }, "mentioned_user_ids"],
    [{ mentionedUserIds: ["0"] }, "mentioned_user_ids[0]"],
    [{ extra: pairs(17) }, "extra"],
    [{ extra: { "": "v" } }, 'extra[""]'],
    [{ extra: { ["k".repeat(65)]: "v" } }, `extra["${"k".repeat(65)}"]`],
    [{ extra: { k: "v".repeat(257) } }, 'extra["k"]'],
  ];
  for (const [fields, field] of bad)
    assert.ok(refused(request({ ...init, ...fields }), field).startsWith(`key: ${field}: `), field);
});

test("bytes that no decoder shows cannot be hidden in the data of an application", () => {
  const pair = (value: string) =>
    new WireWriter().bytes(14, new WireWriter().string(1, "k").string(2, value).finish()).finish();
  const unknown = new WireWriter().string(1, "k").string(2, "v").string(3, "x".repeat(30_000));
  const hidden = [
    Buffer.concat([good, pair("x".repeat(30_000)), pair("v")]),
    Buffer.concat([good, new WireWriter().bytes(14, unknown.finish()).finish()]),
  ];
  for (const bytes of hidden)
    assert.equal(refused(bytes, "hidden"), "key: extra: more than 24576 bytes with the mentions");
  const [key, value] = ["🗝".repeat(62), "🎁".repeat(256)];
  const pairs = Array.from({ length: 16 }, (_, at) => [`${key}${at + 10}`, value]);
  const init = { target: toUser("2"), clientMessageId: "key", content: contentOf("hello") };
  const mentionedUserIds = Array.from({ length: 50 }, (_, at) => String(2n ** 62n + BigInt(at)));
  valid(request({ ...init, extra: Object.fromEntries(pairs), mentionedUserIds }));
});
