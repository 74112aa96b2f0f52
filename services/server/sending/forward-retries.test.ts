import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import { WireWriter } from "#platform/wire.ts";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { accepted, contentOf, refused, request, Stand, say, toUser } from "../server.fixture.ts";
import { edit, hide, recall } from "./changed-messages.fixture.ts";
import { entriesOf, type ForwardInit, failureOf } from "./sends.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 12 });

test("a retry gets the first positions, whatever became of the originals and the copies", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const texts = ["a", "b", "c", "d"].map((key) => say("91", "92", key));
  const { conversationId: from } = accepted((await one.append(...texts))[0]);
  const base = { target: toUser("93"), fromConversationId: from };
  const single = {
    ...base,
    sequences: [1n, 2n, 3n, 4n],
    clientMessageIds: ["f0", "f1", "f2", "f3"],
  };
  const merge = { ...base, sequences: [1n, 2n, 3n], merge: true, clientMessageIds: ["m"] };
  const { accepted: copies } = await one.messages("92").forward(single);
  const { accepted: merged } = await one.messages("92").forward(merge);
  await edit(pool, { conversationId: from, sequence: 1 }, "edited");
  await recall(pool, { conversationId: from, sequence: 2 });
  await hide(pool, "92", { conversationId: from, sequence: 3 });
  const target = copies[0]!.conversationId;
  await recall(pool, { conversationId: target, sequence: 4 });
  for (const server of [one, two]) {
    assert.deepEqual((await server.messages("92").forward(single)).accepted, copies);
    assert.deepEqual((await server.messages("92").forward(merge)).accepted, merged);
  }
  const entries = await entriesOf(one, "93", target);
  assert.equal(entries.length, 5);
  // Messages that were not written before are copied from the current originals.
  const more = { ...single, clientMessageIds: ["f0", "n1", "f2", "f3"] };
  const reason = async (init: ForwardInit) =>
    (await failureOf(one.messages("92").forward(init))).reason;
  assert.equal(await reason(more), ErrorReason.MESSAGE_RECALLED);
  const other = { ...single, sequences: [4n, 2n, 3n, 1n] };
  assert.equal(await reason(other), ErrorReason.KEY_REUSED);
  assert.equal(await reason({ ...single, sequences: [9n, 2n, 3n, 4n] }), ErrorReason.KEY_REUSED);
  assert.equal(await reason({ ...merge, clientMessageIds: ["f0"] }), ErrorReason.KEY_REUSED);
  // A send of the same text under the key of a copy is another message.
  const [sent] = await one.append({ ...say("92", "93", "f2"), text: "c" });
  assert.equal(refused(sent), ErrorReason.KEY_REUSED);
});

test("a forward of a forward keeps the first author, and a merged message is forwarded only alone", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const [first] = await one.append(say("41", "42", "a"), say("41", "42", "b"));
  const original = accepted(first);
  stand.clock.advance(5_000);
  const forward = (from: string, to: string, init: ForwardInit) =>
    one.messages(from).forward({ target: toUser(to), ...init });
  const { accepted: once } = await forward("42", "43", {
    fromConversationId: original.conversationId,
    sequences: [1n],
    clientMessageIds: ["k"],
  });
  const source = { fromConversationId: once[0]!.conversationId };
  const single = { ...source, sequences: [1n], clientMessageIds: ["k"] };
  const { accepted: twice } = await forward("43", "44", single);
  const merge = { ...single, merge: true, clientMessageIds: ["m"] };
  const { accepted: merged } = await forward("43", "44", merge);
  const { conversationId } = twice[0]!;
  const [copy, list] = await entriesOf(one, "44", conversationId);
  const origin = {
    senderId: "41",
    messageId: original.messageId,
    acceptedAtMs: original.acceptedAtMs,
  };
  assert.deepEqual({ ...copy?.origin, $typeName: undefined }, { ...origin, $typeName: undefined });
  assert.equal(list?.content?.kind.case, "merged");
  const [item] = list.content.kind.value.items;
  assert.equal(item?.senderId, "41");
  assert.equal(item.acceptedAtMs, original.acceptedAtMs);

  const again = {
    target: toUser("45"),
    fromConversationId: conversationId,
    sequences: [merged[0]!.sequence],
    clientMessageIds: ["k"],
  };
  const { accepted: third } = await one.messages("44").forward(again);
  const [last] = await entriesOf(one, "45", third[0]!.conversationId);
  assert.equal(last?.content?.kind.case, "merged");
  assert.equal(last.origin?.senderId, "43");
  const within = await failureOf(
    one.messages("44").forward({ ...again, merge: true, clientMessageIds: ["l"] }),
  );
  assert.equal(within.reason, ErrorReason.FORWARD_DENIED);
});

test("a retry of the forward of a forward is recognised after that was recalled", async (t) => {
  const one = await new Stand(t, pool).server();
  const { conversationId } = accepted((await one.append(say("101", "102", "a")))[0]);
  const { accepted: once } = await one.messages("102").forward({
    target: toUser("103"),
    fromConversationId: conversationId,
    sequences: [1n],
    clientMessageIds: ["k"],
  });
  const source = { conversationId: once[0]!.conversationId, sequence: 1 };
  const again = {
    target: toUser("104"),
    fromConversationId: source.conversationId,
    sequences: [1n],
    clientMessageIds: ["k"],
  };
  const { accepted: twice } = await one.messages("103").forward(again);
  await recall(pool, source);
  assert.deepEqual((await one.messages("103").forward(again)).accepted, twice);
});

test("equal forwards at the same time are written once", async (t) => {
  const stand = new Stand(t, pool);
  const servers = [await stand.server(), await stand.server()];
  const [first] = await servers[0]!.append(say("111", "112", "a"), say("111", "112", "b"));
  const init = {
    target: toUser("113"),
    fromConversationId: accepted(first).conversationId,
    sequences: [2n, 1n],
    clientMessageIds: ["k1", "k2"],
  };
  const calls = Array.from({ length: 6 }, (_, at) =>
    servers[at % 2]!.messages("112").forward(init),
  );
  const answers = (await Promise.all(calls)).map(({ accepted }) => accepted);
  for (const copies of answers) assert.deepEqual(copies, answers[0]);
  const entries = await entriesOf(servers[0]!, "113", answers[0]![0]!.conversationId);
  assert.equal(entries.length, 2);
});

test("a sender cannot forge the author of a forward", async (t) => {
  const one = await new Stand(t, pool).server();
  const origin = new WireWriter().varint(1, 99).varint(3, 5).finish();
  const bytes = request({
    target: toUser("122"),
    clientMessageId: "k",
    content: contentOf("forged"),
  });
  const send = Buffer.concat([bytes, new WireWriter().bytes(9, origin).finish()]);
  const { results } = await one.ingress.appendBatch({ uplinks: [{ senderId: "121", send }] });
  const { conversationId } = accepted(fromBinary(SendResultSchema, results[0]!));
  const [entry] = await entriesOf(one, "122", conversationId);
  assert.equal(entry?.origin, undefined);
  assert.equal(entry?.content?.kind.case, "text");
});
