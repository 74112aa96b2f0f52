import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../random.fixture.ts";
import { contentOf, request, toConversation, toUser } from "../server.fixture.ts";
import { readPlainText } from "./plain-text.ts";
import { contractReader } from "./read-send.ts";
import type { RawSend } from "./send.ts";

const byContract = contractReader();
const raw = (send: Uint8Array): RawSend => ({ senderId: "1", sessionId: "s", send });

/**
 * Asserts that the fast path reads a send like the contract's reader. Returns false when the fast
 * path leaves the send to that reader.
 */
function agree(send: Uint8Array): boolean {
  const plain = readPlainText(raw(send));
  if (plain === undefined) return false;
  const truth = byContract(raw(send));
  assert.ok("fields" in truth, Buffer.from(send).toString("hex"));
  const { fields, ...quick } = plain;
  const { fields: slow, ...rest } = truth;
  assert.deepEqual(quick, rest);
  assert.deepEqual(Buffer.from(fields), Buffer.from(slow));
  return true;
}

test("plain texts of all usual lengths take the fast path, with the same result as the contract's reader", () => {
  for (const text of [
    "h",
    "hello",
    "漢字 🦩",
    "x".repeat(120),
    "y".repeat(128),
    "z".repeat(9_800),
  ]) {
    for (const target of [toUser("2"), toConversation("9223372036854775807")]) {
      for (const clientMessageId of ["k", "A-Z.a_z-0", "k".repeat(64)]) {
        const send = request({ target, clientMessageId, content: contentOf(text) });
        assert.ok(agree(send), `${text.length} ${clientMessageId}`);
      }
    }
  }
});

test("other sends and invalid plain texts are left to the contract's reader", () => {
  const good = { target: toUser("2"), clientMessageId: "k", content: contentOf("hello") };
  const custom = { kind: { case: "custom", value: { type: "t" } } } as const;
  const others = [
    { ...good, content: contentOf("") },
    { ...good, content: contentOf("x".repeat(10_001)) },
    { ...good, clientMessageId: "" },
    { ...good, clientMessageId: "k".repeat(65) },
    { ...good, clientMessageId: "not this" },
    { ...good, target: toUser("0") },
    { ...good, target: toUser("-1") },
    { ...good, content: custom },
    { ...good, replyToSequence: 1n },
    { ...good, mentionedUserIds: ["2"] },
    { ...good, mentionAll: true },
    { ...good, extra: { a: "b" } },
    { ...good, silent: true },
    { target: good.target, clientMessageId: "k" },
    { clientMessageId: "k", content: good.content },
  ];
  for (const other of others) assert.equal(agree(request(other)), false);
});

test("sends with changed, cut or added bytes never give another result than the contract's reader", () => {
  const next = random(7);
  const upTo = (n: number) => Math.floor(next() * n);
  let quick = 0;
  for (let round = 0; round < 20_000; round++) {
    const text = "aé漢🦩".repeat(1 + upTo(12));
    const target = round % 2 === 0 ? toUser(`${1 + upTo(1e9)}`) : toConversation("300");
    let send = Buffer.from(request({ target, clientMessageId: "key-1", content: contentOf(text) }));
    for (let changes = upTo(3); changes > 0; changes--) send[upTo(send.length)] = upTo(256);
    if (next() < 0.1) send = send.subarray(0, upTo(send.length));
    if (next() < 0.1) send = Buffer.concat([send, Buffer.from([upTo(256), upTo(256)])]);
    if (agree(send)) quick++;
  }
  assert.ok(quick > 5_000, `${quick} of 20000 were read quickly`);
});
