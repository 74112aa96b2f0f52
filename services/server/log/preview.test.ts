import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { contentOf } from "../server.fixture.ts";
import { previewOf } from "./preview.ts";

type Content = MessageInitShape<typeof ContentSchema>;

const preview = (content?: Content) =>
  previewOf(
    create(EntrySchema, {
      sequence: 7n,
      senderId: "3",
      ...(content === undefined ? {} : { content }),
    }),
  );
/** Kind and text of the preview of a kind. */
const of = (kind: object, fallbackText = "") => {
  const { kind: number, text } = preview({ kind: kind as never, fallbackText });
  return [number, text];
};
const media = { source: { case: "url", value: "https://a" } as const };

test("a preview has the place, the author and the kind of its message", () => {
  const { sequence, senderId, kind, text } = preview(contentOf("hello"));
  assert.deepEqual([sequence, senderId, kind, text], [7n, "3", 1, "hello"]);
});

test("each kind has its first text, and those without one have fallback_text", () => {
  const part = (kind: object) => ({ kind }) as never;
  assert.deepEqual(of({ case: "image", value: { media, caption: "sea" } }), [2, "sea"]);
  assert.deepEqual(of({ case: "video", value: { media, caption: "sea" } }), [3, "sea"]);
  assert.deepEqual(of({ case: "audio", value: { media, caption: "sea" } }), [4, "sea"]);
  assert.deepEqual(of({ case: "file", value: { media, fileName: "a.pdf" } }), [5, "a.pdf"]);
  const named = { media, fileName: "a.pdf", caption: "the plan" };
  assert.deepEqual(of({ case: "file", value: named }), [5, "the plan"]);
  assert.deepEqual(of({ case: "location", value: { title: "Home", address: "A 1" } }), [6, "Home"]);
  assert.deepEqual(of({ case: "location", value: { address: "A 1" } }), [6, "A 1"]);
  const parts = [
    part({ case: "image", value: { media } }),
    part({ case: "text", value: { text: "below" } }),
    part({ case: "text", value: { text: "last" } }),
  ];
  assert.deepEqual(of({ case: "composite", value: { parts } }), [7, "below"]);
  assert.deepEqual(of({ case: "contactCard", value: { displayName: "Ana" } }), [8, "Ana"]);
  assert.deepEqual(of({ case: "groupInvitation", value: { name: "Team" } }), [9, "Team"]);
  assert.deepEqual(of({ case: "joinRequest", value: { greeting: "please" } }), [10, "please"]);
  for (const [name, number] of [
    ["image", 2],
    ["callRecord", 12],
    ["custom", 13],
    ["merged", 14],
  ] as const) {
    assert.deepEqual(of({ case: name, value: {} }), [number, ""]);
    assert.deepEqual(of({ case: name, value: {} }, "instead"), [number, "instead"]);
  }
  const captioned = { case: "image", value: { media, caption: "sea" } };
  assert.deepEqual(of(captioned, "instead"), [2, "sea"]);
});

test("a preview without content has the kind 0 and no text", () => {
  for (const { kind, text } of [preview(), preview({ fallbackText: "" })])
    assert.deepEqual([kind, text], [0, ""]);
  assert.equal(preview({ fallbackText: "a later kind" }).text, "a later kind");
});

test("white space and control characters become one space, none at the ends", () => {
  assert.equal(preview(contentOf("\n a \t\r\n b\u2028\u0000c \u3000")).text, "a b c");
  assert.equal(preview(contentOf(" \n ")).text, "");
});

test("a text is cut after 100 characters, and never within one", () => {
  assert.equal(preview(contentOf("x".repeat(100))).text, "x".repeat(100));
  assert.equal(preview(contentOf("x".repeat(101))).text, "x".repeat(100));
  const flags = (count: number) => "🇩🇪".repeat(count);
  const family = "👩‍👩‍👧‍👦";
  for (const [text, cut] of [
    [`${"x".repeat(99)}🦩🦩`, `${"x".repeat(99)}🦩`],
    ["漢".repeat(120), "漢".repeat(100)],
    [`${"x".repeat(99)}${flags(2)}`, `${"x".repeat(99)}`],
    [`${"x".repeat(98)}${family}`, `${"x".repeat(98)}`],
    [`${"x".repeat(98)}${"e\u0301".repeat(2)}`, `${"x".repeat(98)}e\u0301`],
    [`${"x".repeat(99)}e\u0301`, "x".repeat(99)],
    [`${"x".repeat(99)} y`, "x".repeat(99)],
    [`e${"\u0301".repeat(150)}`, `e${"\u0301".repeat(99)}`],
  ] as const)
    assert.equal(preview(contentOf(text)).text, cut);
});
