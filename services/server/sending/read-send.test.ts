import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { SendRequestSchema, SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import { WireWriter } from "#platform/wire.ts";
import { refusal } from "../conversations/refusal.ts";
import { tail, writePrefix } from "../log/entries.ts";
import { random } from "../random.fixture.ts";
import { contentOf, request, toUser } from "../server.fixture.ts";
import { encodeResults } from "./outcome.ts";
import { sendReader } from "./read-send.ts";
import type { ReadResult, Send } from "./send.ts";

const read = sendReader();
const readBytes = (send: Uint8Array) => read({ senderId: "1", sessionId: "s", send });
const valid = (send: Uint8Array): Send => {
  const result = readBytes(send);
  assert.ok(!("refusal" in result), Buffer.from(send).toString("hex"));
  return result;
};
const refused = (send: Uint8Array, text?: string) => {
  const result = readBytes(send);
  assert.ok("refusal" in result, text);
  assert.equal(result.refusal.reason, ErrorReason.INVALID_ARGUMENT);
  return `${result.clientMessageId}: ${result.refusal.text}`;
};
const contentBytes = (text: string) =>
  toBinary(ContentSchema, create(ContentSchema, contentOf(text)));
/** Encodes a send of `parts` copies of an encoded part. */
const composite = (parts: number, part: Uint8Array): Uint8Array => {
  const all = Buffer.concat(Array.from({ length: parts }, () => part));
  const content = new WireWriter().bytes(7, all).finish();
  return new WireWriter().varint(1, 2).string(6, "key").bytes(10, content).finish();
};

const good = request({ target: toUser("2"), clientMessageId: "key", content: contentOf("hello") });

test("the entry takes over the fields of the send byte by byte", () => {
  const { fields, keyStart, keyLength, kind } = valid(good);
  assert.equal(kind, 1);
  assert.equal(Buffer.from(fields).toString("latin1", keyStart, keyStart + keyLength), "key");
  const prefix = Buffer.alloc(64);
  const ids = { conversationId: 5n, messageId: 2n ** 62n, senderId: 1n };
  const end = writePrefix(prefix, 0, ids);
  const entry = fromBinary(
    EntrySchema,
    Buffer.concat([prefix.subarray(0, end), fields, tail(7, 1_800_000_000_000)]),
  );
  assert.equal(entry.conversationId, "5");
  assert.equal(entry.messageId, (2n ** 62n).toString());
  assert.equal(entry.senderId, "1");
  assert.equal(entry.clientMessageId, "key");
  assert.equal(entry.sequence, 7n);
  assert.equal(entry.acceptedAtMs, 1_800_000_000_000n);
  assert.deepEqual(entry.content?.kind.value, { ...entry.content?.kind.value, text: "hello" });
});

test("a text for clients that do not know the kind is validated, and stored as it was encoded", () => {
  const base = { target: toUser("2"), clientMessageId: "key" };
  const card = { kind: { case: "contactCard", value: { userId: "7" } } } as const;
  const withText = (fallbackText: string) =>
    request({ ...base, content: { ...card, fallbackText } });
  const send = withText("ü".repeat(255));
  const { fields, kind } = valid(send);
  assert.equal(kind, 8);
  assert.deepEqual(Buffer.from(fields), Buffer.from(send.subarray(2)));
  assert.equal(fromBinary(EntrySchema, fields).content?.fallbackText, "ü".repeat(255));
  const tooLong = "key: content.fallback_text: must be at most 255 characters";
  assert.equal(refused(withText("ü".repeat(256))), tooLong);
  // Before the kind, with a longer length than necessary, in a plain text.
  const inner = Buffer.concat([Buffer.of(0xa2, 0x06, 0x81, 0x00, 0x78), contentBytes("hi")]);
  const odd = new WireWriter().varint(1, 2).string(6, "key").bytes(10, inner).finish();
  assert.ok(Buffer.from(valid(odd).fields).includes(inner));
  const invalid = [
    [Buffer.of(0xa2, 0x06, 0x02, 0xc3, 0x28), "invalid UTF-8"],
    [Buffer.of(0xa0, 0x06, 0x01), "a number"],
    [Buffer.of(0xa2, 0x06, 1, 0x78, 0xa2, 0x06, 1, 0x78), "twice"],
    [Buffer.of(0xa2, 0x06, 0x05, 0x78), "cut off"],
  ] as const;
  for (const [field, why] of invalid) {
    const content = Buffer.concat([contentBytes("hi"), field]);
    refused(new WireWriter().varint(1, 2).string(6, "key").bytes(10, content).finish(), why);
  }
  // A text alone is no content.
  refused(request({ ...base, content: { fallbackText: "x" } }));
});

test("a kind of a later version beside a known one is refused: decoders keep the last kind", () => {
  const send = (content: Uint8Array) =>
    new WireWriter().varint(1, 2).string(6, "key").bytes(10, content).finish();
  const field = (number: number) => new WireWriter().string(number, "later").finish();
  for (const number of [15, 19, 25, 99]) {
    for (const parts of [
      [contentBytes("hi"), field(number)],
      [field(number), contentBytes("hi")],
    ]) {
      const text = refused(send(Buffer.concat(parts)), `field ${number}`);
      assert.equal(text, `key: content: field ${number} is a kind that this server does not know`);
    }
  }
  valid(send(Buffer.concat([contentBytes("hi"), field(101)])));
});

test("a send with a server-only kind, too many bytes or a missing field is refused", () => {
  const base = { target: toUser("2"), clientMessageId: "key" };
  const custom = (bytes: number) => ({
    kind: { case: "custom", value: { type: "t", data: new Uint8Array(bytes) } } as const,
  });
  const part = { kind: { case: "text", value: { text: "ü".repeat(10_000) } } } as const;
  const bad = [
    request({
      ...base,
      content: {
        kind: {
          case: "tip",
          value: { kind: { case: "memberRemoved", value: { userId: "1" } } },
        },
      },
    }),
    request({ ...base, content: { kind: { case: "callRecord", value: { callId: "1" } } } }),
    request({ ...base, content: { kind: { case: "merged", value: { items: [{}] } } } }),
    request({ ...base, content: { kind: { case: "edit", value: { targetSequence: 1n } } } }),
    request({ ...base, content: { kind: { case: "recall", value: { targetSequences: [1n] } } } }),
    request({ ...base, content: { kind: { case: "reactions", value: { targetSequence: 1n } } } }),
    request({ ...base, content: { kind: { case: "pin", value: { targetSequence: 1n } } } }),
    request({ ...base, content: { kind: { case: "unpin", value: { targetSequence: 1n } } } }),
    request({ ...base, content: custom(40_000) }),
    request({
      ...base,
      content: { kind: { case: "composite", value: { parts: [part, part, part, part] } } },
    }),
    request({ ...base, content: {} }),
    request(base),
    request({ clientMessageId: "key", content: contentOf("x") }),
    request({ ...base, clientMessageId: "", content: contentOf("x") }),
    request({ ...base, target: toUser("-5"), content: contentOf("x") }),
    new Uint8Array(0),
  ];
  for (const [index, bytes] of bad.entries()) refused(bytes, `case ${index}`);
  valid(request({ ...base, content: custom(32_000) }));
});

test("a send with too many bytes or fields is refused before it is decoded", () => {
  const empty = Buffer.from([0x0a, 0]);
  assert.equal(refused(composite(65_000, empty)), "key: content: more than 65536 bytes");
  const tooMany = "key: the send is not a valid SendRequest: too many fields";
  assert.equal(refused(composite(32_000, empty)), tooMany);
  const unknown = Buffer.alloc(20_000, Buffer.from([0x78, 0]));
  assert.equal(refused(composite(1, Buffer.concat([empty, unknown]))), tooMany);
  refused(Buffer.concat([good, unknown]));
  const userIds = Array.from({ length: 10_000 }, () => "1");
  const tip = { kind: { case: "groupCreated", value: { userIds } } } as const;
  const clientMessageId = "key";
  const content = { kind: { case: "tip", value: tip } } as const;
  assert.equal(refused(request({ target: toUser("2"), clientMessageId, content })), tooMany);
});

test("fifty parts with all their fields are accepted, 51 parts are refused", () => {
  const source = { case: "url", value: "https://a" } as const;
  const media = { source, sizeBytes: 1n, mimeType: "a/b", sha256: new Uint8Array(32) };
  const video = { media, cover: media, durationMs: 1n, widthPx: 1, heightPx: 1 };
  const parts = (count: number) => {
    const part = { kind: { case: "video", value: video } } as const;
    const value = { parts: Array.from({ length: count }, () => part) };
    const content = { kind: { case: "composite", value } } as const;
    return request({ target: toUser("2"), clientMessageId: "key", content });
  };
  valid(parts(50));
  const text = "key: content.composite.parts: must contain no more than 50 item(s)";
  assert.equal(refused(parts(51)), text);
});

test("media with an odd digest or address, and names that do not show, are refused", () => {
  const url = (value: string) => ({ case: "url", value });
  const file = (media: object, fileName = "a") => ({ case: "file", value: { media, fileName } });
  const send = (kind: object) =>
    request({ target: toUser("2"), clientMessageId: "key", content: { kind: kind as never } });
  const good = { source: url("https://a"), sha256: new Uint8Array(32) };
  valid(send(file(good, "Ferien 🦩.pdf")));
  for (const [kind, field] of [
    [file({ ...good, sha256: new Uint8Array(31) }), "media.sha256"],
    [file({ source: url("javascript:alert(1)") }), "media.url"],
    [file({ source: { case: "fileId", value: "1" } }), "media.file_id"],
    [file({}), "media.source"],
    [file(good, "\u2800"), "file_name"],
  ] as const) {
    assert.ok(refused(send(kind)).startsWith(`key: content.file.${field}: `), field);
    const parts = { case: "composite", value: { parts: [{ kind }] } };
    const within = `key: content.composite.parts[0].file.${field}: `;
    assert.ok(refused(send(parts)).startsWith(within), within);
  }
});

test("a repeated singular field is refused, so that the stored bytes are the validated ones", () => {
  const key = new WireWriter().string(6, "key").finish();
  const content = new WireWriter().bytes(10, contentBytes("hi")).finish();
  const user = new WireWriter().varint(1, 2).finish();
  const conversation = new WireWriter().varint(2, 5).finish();
  const hidden = new WireWriter().string(6, "x".repeat(60_000)).finish();
  const large = new WireWriter().bytes(10, contentBytes("x".repeat(9_000))).finish();
  valid(Buffer.concat([user, key, content]));
  valid(Buffer.concat([content, key, conversation]));
  const no = "the send is not a valid SendRequest: field";
  const bad: [Uint8Array[], string][] = [
    [[user, hidden, key, content], `key: ${no} 6 is repeated`],
    [[user, key, large, content], `key: ${no} 10 is repeated`],
    [[user, key, content, user], `key: ${no} 1 is repeated`],
    // Connect routes a send by its first target, while decoders keep the last one.
    [[user, conversation, key, content], `key: ${no} 2 is repeated`],
    [[conversation, key, content, user], `key: ${no} 1 is repeated`],
  ];
  for (const [fields, text] of bad) assert.equal(refused(Buffer.concat(fields)), text);
  // Within the content: two texts, and a text and an image.
  const text = new WireWriter().string(1, "hi").finish();
  const within = (bytes: Uint8Array) =>
    Buffer.concat([user, key, new WireWriter().bytes(10, bytes).finish()]);
  const image = new WireWriter()
    .bytes(1, new WireWriter().string(1, "https://a").finish())
    .finish();
  const texts = Buffer.concat([text, text]);
  assert.equal(
    refused(within(new WireWriter().bytes(1, texts).finish())),
    `key: ${no} 1 is repeated`,
  );
  const kinds = new WireWriter().bytes(1, text).bytes(2, image).finish();
  assert.equal(refused(within(kinds)), `key: ${no} 2 is repeated`);
});

test("bytes that other decoders reject are refused at every depth", () => {
  const text = (inner: Buffer) => {
    const content = new WireWriter().bytes(1, inner).finish();
    return new WireWriter().varint(1, 2).string(6, "key").bytes(10, content).finish();
  };
  const bad = [
    // Text.text as a varint: the generated decoder reads the number as a length.
    text(Buffer.from([0x08, 0x02, 0x68, 0x69])),
    // A group field inside the text.
    text(Buffer.from([0x0a, 1, 0x68, 0x23, 0x24])),
    // A string of invalid UTF-8.
    text(Buffer.from([0x0a, 2, 0xc3, 0x28])),
    // A length beyond the end.
    text(Buffer.from([0x0a, 9, 0x68])),
  ];
  for (const bytes of bad) refused(bytes);
  valid(text(Buffer.from([0x0a, 2, 0x68, 0x69])));
});

test("a send that its call has decoded and validated is read like its bytes", () => {
  const again = (send: Uint8Array) => {
    const decoded = fromBinary(SendRequestSchema, send);
    const bytes = toBinary(SendRequestSchema, decoded);
    return read({ senderId: "1", sessionId: "s", send: bytes, request: decoded });
  };
  const base = { target: toUser("2"), clientMessageId: "key" };
  const withinContent = (fields: WireWriter) =>
    Buffer.concat([
      request(base),
      new WireWriter().bytes(10, Buffer.concat([contentBytes("hi"), fields.finish()])).finish(),
    ]);
  const card = { kind: { case: "contactCard", value: { userId: "7" } } } as const;
  const callRecord = { kind: { case: "callRecord", value: { callId: "1" } } } as const;
  const custom = (size: number) =>
    ({ kind: { case: "custom", value: { type: "t", data: new Uint8Array(size) } } }) as const;
  const later = new WireWriter().string(18, "of a later version").finish();
  const sends = [
    good,
    request({ ...base, content: card }),
    request({
      ...base,
      content: card,
      replyToSequence: 7n,
      mentionedUserIds: ["3"],
      extra: { a: "b" },
    }),
    Buffer.concat([good, later]),
    withinContent(new WireWriter().string(500, "of a later version")),
    // A group, which other decoders refuse.
    withinContent(new WireWriter().raw(Buffer.from([0xf3, 0x01, 0xf4, 0x01]))),
    withinContent(new WireWriter().raw(Buffer.alloc(6_000, Buffer.from([0xfa, 0x01, 0])))),
    request({ ...base, content: callRecord }),
    request({ ...base, content: custom(70_000) }),
  ];
  const plain = (result: ReadResult) =>
    "refusal" in result ? result : { ...result, fields: Buffer.from(result.fields) };
  for (const [index, send] of sends.entries()) {
    assert.deepEqual(plain(again(send)), plain(readBytes(send)), `case ${index}`);
  }
  // The interceptor of the call has refused it before.
  const empty = request({ ...base, content: contentOf("") });
  refused(empty);
  assert.ok(!("refusal" in again(empty)), "the constraints are checked once");
});

test("the reader never throws, whatever the bytes", () => {
  const next = random(7);
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(good);
    const changes = 1 + Math.floor(next() * 4);
    for (let n = 0; n < changes; n++) bytes[Math.floor(next() * bytes.length)] = next() * 256;
    const cut = next() < 0.2 ? bytes.subarray(0, Math.floor(next() * bytes.length)) : bytes;
    const result = readBytes(cut);
    if (!("refusal" in result)) fromBinary(EntrySchema, result.fields);
  }
});

test("encoded results decode by the contract", () => {
  const accepted = {
    conversationId: 2n ** 60n,
    sequence: 12,
    acceptedAtMs: 1_800_000_000_000,
    messageId: 2n ** 61n,
  };
  const refused = refusal(ErrorReason.OVERLOADED, "später", 500);
  const [first, second, third] = encodeResults([
    { clientMessageId: "key", outcome: { kind: "accepted", ...accepted } },
    { clientMessageId: "", outcome: { kind: "refused", refusal: refused } },
    { clientMessageId: "other", outcome: { kind: "accepted", ...accepted } },
  ]).map((bytes) => fromBinary(SendResultSchema, bytes));
  const yes = first!;
  const no = second!;
  assert.equal(third?.clientMessageId, "other");
  assert.equal(third.outcome.case, "accepted");
  assert.equal(yes.clientMessageId, "key");
  assert.equal(yes.outcome.case, "accepted");
  const { value } = yes.outcome;
  assert.deepEqual(value, {
    ...value,
    conversationId: (2n ** 60n).toString(),
    messageId: (2n ** 61n).toString(),
    sequence: 12n,
    acceptedAtMs: 1_800_000_000_000n,
  });
  assert.equal(no.outcome.case, "refused");
  if (no.outcome.case !== "refused") return;
  assert.equal(no.outcome.value.text, "später");
  assert.equal(no.outcome.value.error?.reason, ErrorReason.OVERLOADED);
  assert.equal(no.outcome.value.error?.retryAfterMs, 500n);
});
