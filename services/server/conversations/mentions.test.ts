import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Role } from "#gen/lucky/group/v1/group_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { mentionedUsers, mentionsRefusal } from "./mentions.ts";

const roles = { 1: Role.OWNER, 2: Role.ADMIN, 3: Role.MEMBER };
const group = {
  kind: ConversationKind.GROUP,
  users: [],
  memberships: new Map(
    Object.entries(roles).map(([userId, role]) => [userId, { role, mutedUntilMs: 0 }]),
  ),
};
const direct = { kind: ConversationKind.DIRECT, users: ["7", "8"], memberships: new Map() };

test("only members can be mentioned, and the refusal names the first other user", () => {
  const mention = (...userIds: string[]) => ({
    authorId: "3",
    mentions: { userIds, all: false },
  });
  assert.equal(mentionsRefusal(group, mention("1", "2", "3")), undefined);
  const refused = mentionsRefusal(group, mention("1", "9", "8"));
  assert.equal(refused?.reason, ErrorReason.MENTION_INVALID);
  assert.equal(refused.field, "mentioned_user_ids[1]");
});

test("only admins and the owner of a group mention all members", () => {
  const all = (authorId: string) =>
    mentionsRefusal(group, { authorId, mentions: { userIds: [], all: true } });
  assert.equal(all("1"), undefined);
  assert.equal(all("2"), undefined);
  for (const authorId of ["3", "4"]) {
    assert.equal(all(authorId)?.reason, ErrorReason.MENTION_ALL_DENIED);
    assert.equal(all(authorId)?.field, "mention_all");
  }
});

test("both users of a direct conversation mention each other and all, but nobody else", () => {
  const mentions = { userIds: ["7", "8"], all: true };
  assert.equal(mentionsRefusal(direct, { authorId: "7", mentions }), undefined);
  const foreign = { authorId: "7", mentions: { userIds: ["3"], all: false } };
  assert.equal(mentionsRefusal(direct, foreign)?.reason, ErrorReason.MENTION_INVALID);
});

test("the author is not a mentioned user, and user 0 stands for all members", () => {
  const mentions = { userIds: ["5", "6"], all: false };
  assert.deepEqual(mentionedUsers({ authorId: "6", mentions }), ["5"]);
  assert.deepEqual(mentionedUsers({ authorId: "1", mentions: { ...mentions, all: true } }), [
    "5",
    "6",
    "0",
  ]);
});
