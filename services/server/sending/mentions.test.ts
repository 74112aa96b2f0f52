import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Role } from "#gen/lucky/group/v1/group_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { RouteCheck } from "../log/routes.fixture.ts";
import {
  accepted,
  contentOf,
  type RunningServer,
  refused,
  Stand,
  toConversation,
  toUser,
} from "../server.fixture.ts";
import { appendAll, failureOf, type SendInit } from "./sends.fixture.ts";

const COUNT = 3;
const { pool } = await startTestPostgres({ after }, { max: 12 });
const { logs } = await startTestPostgres({ after }, { max: 6, logs: COUNT });

/** A text in a conversation that mentions users; its text is its key. */
const mention = (conversationId: string, key: string, ...userIds: string[]): SendInit => ({
  target: toConversation(conversationId),
  clientMessageId: key,
  content: contentOf(key),
  mentionedUserIds: userIds,
});

async function groupOf(server: RunningServer, ownerId: string, ...userIds: string[]) {
  const { group } = await server.groups(ownerId).createGroup({ name: "g", userIds });
  return group!.groupId;
}

/** Rows of im.mention of a conversation: user, sequence, sender. */
async function rowsOf(conversationId: string): Promise<number[][]> {
  const { rows } = await pool.query(
    `SELECT user_id::int AS u, sequence::int AS s, sender_id::int AS f FROM im.mention
      WHERE conversation_id = $1 ORDER BY sequence, user_id`,
    [conversationId],
  );
  return rows.map(({ u, s, f }) => [u, s, f]);
}

/** Changes a role. */
async function setRole(conversationId: string, userId: string, role: Role): Promise<void> {
  await pool.query("UPDATE im.member SET role = $3 WHERE conversation_id = $1 AND user_id = $2", [
    conversationId,
    userId,
    role,
  ]);
  await pool.query(
    "UPDATE im.conversation SET member_version = member_version + 1 WHERE conversation_id = $1",
    [conversationId],
  );
}

test("a message has a row for each mentioned user but its sender, and it counts as a mention", async (t) => {
  const one = await new Stand(t, pool).server();
  const [first, second] = [await groupOf(one, "11", "12", "13"), await groupOf(one, "11", "12")];
  const results = await appendAll(
    one,
    "11",
    mention(first, "plain"),
    mention(first, "a", "13", "12", "11"),
    mention(second, "b", "12"),
    { ...mention(first, "all"), mentionAll: true },
    { ...mention(first, "both", "12"), mentionAll: true },
    mention(first, "end"),
  );
  assert.deepEqual(
    results.map((result) => accepted(result).sequence),
    [2, 3, 2, 4, 5, 6],
  );
  assert.deepEqual(await rowsOf(first), [
    [12, 3, 11],
    [13, 3, 11],
    [0, 4, 11],
    [0, 5, 11],
    [12, 5, 11],
  ]);
  assert.deepEqual(await rowsOf(second), [[12, 2, 11]]);
  const counts = async (userId: string, conversationId: string) => {
    const { conversations } = await one.messages(userId).sync({ cursor: "" });
    const found = conversations.find((one) => one.conversationId === conversationId)!;
    return [found.unreadMentions, found.unreadMentionsOfAll];
  };
  assert.deepEqual(await counts("12", first), [2, 2]);
  assert.deepEqual(await counts("13", first), [1, 2]);
  assert.deepEqual(await counts("11", first), [0, 0]);
  const { entries } = await one
    .messages("13")
    .listEntries({ conversationId: first, position: { case: "afterSequence", value: 2n } });
  assert.deepEqual(entries[0]?.mentionedUserIds, ["13", "12", "11"]);
  assert.equal(entries[1]?.mentionAll, true);
});

test("a mention of a user who is not a member is refused, and tells the field", async (t) => {
  const one = await new Stand(t, pool).server();
  const group = await groupOf(one, "21", "22", "23");
  await one.groups("21").removeMember({ groupId: group, userId: "23" });
  const results = await appendAll(
    one,
    "22",
    mention(group, "stranger", "21", "29"),
    mention(group, "former", "23"),
    mention(group, "fine", "21"),
  );
  assert.deepEqual(results.slice(0, 2).map(refused), [
    ErrorReason.MENTION_INVALID,
    ErrorReason.MENTION_INVALID,
  ]);
  assert.equal(accepted(results[2]).sequence, 3);
  assert.deepEqual(await rowsOf(group), [[21, 3, 22]]);
  const call = one.messages("22").send(mention(group, "call", "21", "29"));
  const failure = { reason: ErrorReason.MENTION_INVALID, field: "mentioned_user_ids[1]" };
  assert.deepEqual(await failureOf(call), failure);
});

test("only admins and the owner mention all members of a group, also with a stale cache", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const group = await groupOf(one, "31", "32", "33");
  const all = async (server: RunningServer, from: string, key: string) => {
    const [result] = await appendAll(server, from, { ...mention(group, key), mentionAll: true });
    return result!.outcome.case === "accepted" ? "accepted" : refused(result);
  };
  assert.equal(await all(one, "31", "k1"), "accepted");
  assert.equal(await all(one, "32", "k1"), ErrorReason.MENTION_ALL_DENIED);
  assert.equal(await all(two, "32", "k2"), ErrorReason.MENTION_ALL_DENIED);
  await setRole(group, "32", Role.ADMIN);
  assert.equal(await all(two, "32", "k3"), "accepted");
  await setRole(group, "32", Role.MEMBER);
  assert.equal(await all(two, "32", "k4"), ErrorReason.MENTION_ALL_DENIED);
  assert.equal(await all(two, "32", "k3"), "accepted", "a retry keeps its first answer");
});

test("a user who has just been removed cannot be mentioned, also by a server that has cached the member", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const group = await groupOf(one, "41", "42", "43");
  const [stored] = await appendAll(two, "42", mention(group, "k1", "43"));
  await one.groups("41").removeMember({ groupId: group, userId: "43" });
  const [refusedOne, retry, plain] = await appendAll(
    two,
    "42",
    mention(group, "k2", "43"),
    mention(group, "k1", "43"),
    mention(group, "k3"),
  );
  assert.equal(refused(refusedOne), ErrorReason.MENTION_INVALID);
  assert.deepEqual(accepted(retry), accepted(stored), "a retry keeps its first answer");
  assert.equal(accepted(plain).sequence, 4);
  assert.deepEqual(await rowsOf(group), [[43, 2, 42]]);
  await one.groups("41").addMembers({ groupId: group, userIds: ["43"] });
  const [back] = await appendAll(two, "42", mention(group, "k4", "43"));
  assert.equal(accepted(back).sequence, 6);
});

test("in a direct conversation both users mention each other and all, but nobody else", async (t) => {
  const one = await new Stand(t, pool).server();
  const init = { target: toUser("52"), content: contentOf("hi") };
  const [first, second, third] = await appendAll(
    one,
    "51",
    { ...init, clientMessageId: "k1", mentionedUserIds: ["52", "51"] },
    { ...init, clientMessageId: "k2", mentionAll: true },
    { ...init, clientMessageId: "k3", mentionedUserIds: ["53"] },
  );
  const { conversationId } = accepted(first);
  accepted(second);
  assert.equal(refused(third), ErrorReason.MENTION_INVALID);
  assert.deepEqual(await rowsOf(conversationId), [
    [52, 1, 51],
    [0, 2, 51],
  ]);
});

test("sends keep their order while mentioned users are looked up", async (t) => {
  const one = await new Stand(t, pool).server({ laneBatchCount: 4 });
  const members = Array.from({ length: 40 }, (_, at) => `${601 + at}`);
  const group = await groupOf(one, "600", ...members);
  const inits = members.map((userId, at) =>
    at % 3 === 0 ? mention(group, `k${at}`) : mention(group, `k${at}`, userId),
  );
  const calls = [inits.slice(0, 17), inits.slice(17)].map((some) => appendAll(one, "600", ...some));
  const results = (await Promise.all(calls)).flat();
  assert.deepEqual(
    results.map((result) => accepted(result).sequence),
    members.map((_, at) => at + 2),
  );
});

test("a batch that is repeated after a member change stores each mention once", async (t) => {
  const stand = new Stand(t, pool);
  const [one, two] = [await stand.server(), await stand.server()];
  const groups = [await groupOf(one, "71", "72"), await groupOf(one, "71", "72")];
  const send = (key: string) =>
    appendAll(two, "71", ...groups.map((group) => mention(group, key, "72")));
  await send("k1");
  // The membership that two has cached for the first group is stale now.
  await one.groups("71").addMembers({ groupId: groups[0]!, userIds: ["73"] });
  const results = await send("k2");
  assert.deepEqual(
    results.map((result) => accepted(result).sequence),
    [4, 3],
  );
  assert.deepEqual(await rowsOf(groups[0]!), [
    [72, 2, 71],
    [72, 4, 71],
  ]);
  assert.deepEqual(await rowsOf(groups[1]!), [
    [72, 2, 71],
    [72, 3, 71],
  ]);
});

test("with three databases, replies, mentions and forwards stay in the databases of their conversations", async (t) => {
  const check = new RouteCheck(COUNT);
  const stand = new Stand(t, logs);
  const one = await stand.server({}, { observe: check.observe });
  const groups: string[] = [];
  for (let at = 0; at < 12; at++) {
    // The key chooses the database.
    const init = { name: "g", userIds: ["82"], clientGroupId: `g${at}` };
    groups.push((await one.groups("81").createGroup(init)).group!.groupId);
  }
  await appendAll(one, "81", ...groups.map((group) => mention(group, "k1")));
  const results = await appendAll(
    one,
    "82",
    ...groups.map((group) => ({ ...mention(group, "k2", "81"), replyToSequence: 2n })),
    ...groups.map((group) => ({ ...mention(group, "k3"), replyToSequence: 99n })),
    mention(groups[0]!, "k4", "89"),
  );
  for (const result of results.slice(0, 12)) assert.equal(accepted(result).sequence, 3);
  for (const result of results.slice(12, 24))
    assert.equal(refused(result), ErrorReason.REPLY_TARGET_INVALID);
  assert.equal(refused(results[24]), ErrorReason.MENTION_INVALID);
  for (const [at, fromConversationId] of groups.entries()) {
    const target = toConversation(groups[(at + 1) % groups.length]!);
    const { accepted } = await one.messages("82").forward({
      target,
      fromConversationId,
      sequences: [3n, 2n],
      clientMessageIds: ["f1", "f2"],
    });
    assert.deepEqual(
      accepted.map(({ sequence }) => sequence),
      [4n, 5n],
    );
  }
  assert.deepEqual(check.breaches, []);
  for (const name of [
    "im_append_mentions",
    "im_reply_targets",
    "im_originals",
    "im_duplicates_own",
  ]) {
    const runs = check.runs.get(name) ?? [];
    assert.ok(runs.length === COUNT && runs.every((count) => count > 0), `${name}: ${runs}`);
  }
});
