import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import {
  accepted,
  contentOf,
  type RunningServer,
  refused,
  Stand,
  say,
  toConversation,
} from "../server.fixture.ts";
import { edit, hide, recall } from "./changed-messages.fixture.ts";
import { appendAll, failureOf, type SendInit } from "./sends.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 12 });

/** A reply in a conversation; its text is its key. */
const reply = (conversationId: string, key: string, to: number): SendInit => ({
  target: toConversation(conversationId),
  clientMessageId: key,
  content: contentOf(key),
  replyToSequence: BigInt(to),
});

/** A direct conversation with the messages m1 to m3 of `from`. */
async function conversation(server: RunningServer, from: string, to: string) {
  const results = await server.append(...["m1", "m2", "m3"].map((key) => say(from, to, key)));
  return accepted(results[0]).conversationId;
}

test("a reply tells the message that it replies to, live and from the log", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const conversationId = await conversation(one, "11", "12");
  const heard = await stand.instance("connect-0", ["u:11"]);
  const [result] = await appendAll(one, "12", reply(conversationId, "r", 2));
  assert.equal(accepted(result).sequence, 4);
  const { entries } = await one
    .messages("11")
    .listEntries({ conversationId, position: { case: "afterSequence", value: 3n } });
  assert.equal(entries[0]?.replyToSequence, 2n);
  await heard.until(({ entries }) => entries.length === 1);
  assert.equal(heard.entries[0]?.replyToSequence, 2n);
});

test("a reply to what its sender cannot see as a message is refused, and tells the field", async (t) => {
  const one = await new Stand(t, pool).server();
  const { group } = await one.groups("21").createGroup({ name: "g", userIds: ["22"] });
  const conversationId = group!.groupId;
  const to = toConversation(conversationId);
  const texts = ["m2", "m3", "m4", "m5"].map((key) => ({ from: "21", to, key, text: key }));
  await one.append(...texts);
  await one.groups("21").addMembers({ groupId: conversationId, userIds: ["23"] });
  await one.append({ from: "21", to, key: "m7", text: "m7" });
  await recall(pool, { conversationId, sequence: 3 });
  await hide(pool, "22", { conversationId, sequence: 4 });
  await edit(pool, { conversationId, sequence: 5 }, "edited");
  await pool.query("UPDATE im.entry SET kind = 20 WHERE conversation_id = $1 AND sequence = 7", [
    conversationId,
  ]);
  const outcome = async (from: string, sequence: number) => {
    const [result] = await appendAll(one, from, reply(conversationId, `to-${sequence}`, sequence));
    return result!.outcome.case === "accepted" ? "accepted" : refused(result);
  };
  const invalid = ErrorReason.REPLY_TARGET_INVALID;
  assert.equal(await outcome("22", 2), "accepted");
  assert.equal(await outcome("22", 5), "accepted", "an edited message");
  assert.equal(await outcome("22", 1), invalid, "a tip");
  assert.equal(await outcome("22", 3), invalid, "a recalled message");
  assert.equal(await outcome("22", 4), invalid, "a message that the sender has deleted");
  assert.equal(await outcome("21", 4), "accepted", "another user has deleted it");
  assert.equal(await outcome("22", 7), invalid, "a change");
  assert.equal(await outcome("22", 999), invalid, "no entry");
  assert.equal(await outcome("23", 2), invalid, "from before the sender joined");
  const call = one.messages("22").send(reply(conversationId, "call", 999));
  assert.deepEqual(await failureOf(call), { reason: invalid, field: "reply_to_sequence" });
});

test("a retry of a reply keeps its first answer after its target was recalled", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const conversationId = await conversation(one, "31", "32");
  const first = reply(conversationId, "r", 1);
  const [stored] = await appendAll(one, "32", first);
  await recall(pool, { conversationId, sequence: 1 });
  for (const server of [one, two]) {
    const [again, other] = await appendAll(server, "32", first, reply(conversationId, "other", 1));
    assert.deepEqual(accepted(again), accepted(stored));
    assert.equal(refused(other), ErrorReason.REPLY_TARGET_INVALID);
  }
  const [changed] = await appendAll(one, "32", { ...first, replyToSequence: 2n });
  assert.equal(refused(changed), ErrorReason.KEY_REUSED, "a reply to another message");
  const [removed] = await appendAll(one, "32", { ...first, replyToSequence: 0n });
  assert.equal(refused(removed), ErrorReason.KEY_REUSED);
});

test("a late retry keeps its first answer after its message was edited or recalled", async (t) => {
  const one = await new Stand(t, pool).server();
  const results = await one.append(say("33", "34", "a"), say("33", "34", "b"));
  const [a, b] = results.map((result) => accepted(result));
  await edit(pool, a!, "edited");
  await edit(pool, a!, "edited twice");
  await recall(pool, b!);
  const again = await one.append(say("33", "34", "a"), say("33", "34", "b"));
  assert.deepEqual(
    again.map((result) => accepted(result)),
    [a, b],
  );
  const other = { ...say("33", "34", "a"), text: "edited twice" };
  assert.equal(refused((await one.append(other))[0]), ErrorReason.KEY_REUSED);
  await recall(pool, a!);
  assert.deepEqual(accepted((await one.append(say("33", "34", "a")))[0]), a);
});

test("sends keep their order while replies are looked up, whether they are refused or not", async (t) => {
  for (const laneBatchCount of [1, 512]) {
    const one = await new Stand(t, pool).server({ laneBatchCount });
    const [from, to] = [`4${laneBatchCount}`, `5${laneBatchCount}`];
    const conversationId = await conversation(one, from, to);
    const keys = Array.from({ length: 30 }, (_, at) => `k${at}`);
    const inits = keys.map((key, at) => {
      if (at % 3 === 0) return reply(conversationId, key, 1 + (at % 2));
      if (at % 7 === 1) return reply(conversationId, key, 1_000);
      return { ...reply(conversationId, key, 0), target: toConversation(conversationId) };
    });
    const calls = [inits.slice(0, 13), inits.slice(13, 14), inits.slice(14)].map((some) =>
      appendAll(one, from, ...some),
    );
    const results = (await Promise.all(calls)).flat();
    const stored = results.filter(({ outcome }) => outcome.case === "accepted");
    assert.equal(stored.length, 26);
    assert.deepEqual(
      stored.map((result) => accepted(result).sequence),
      stored.map((_, at) => 4 + at),
    );
    for (const result of results)
      if (!stored.includes(result)) assert.equal(refused(result), ErrorReason.REPLY_TARGET_INVALID);
  }
});
