import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

test("16 concurrent senders in a group get gap-free sequences, and all members see the same order", {
  timeout: TIMEOUT,
}, async (t) => {
  const senders = 16;
  const each = 25;
  const members = await people(world, ...Array.from({ length: senders }, (_, i) => `member${i}`));
  t.after(() => Promise.all(members.map((p) => p.closeDevices())));
  const devices = await Promise.all(members.map((p) => p.clientDevice()));
  await Promise.all(devices.map((p) => p.client.connect()));
  const { group } = await devices[0]!.client.groups.createGroup({
    name: "all at once",
    userIds: members.slice(1).map((p) => p.userId),
  });
  const conversationId = group!.groupId;

  const accepted = await Promise.all(
    devices.map(async (device, i) => {
      const sequences: bigint[] = [];
      for (let n = 0; n < each; n++) {
        const { sequence } = await device.client.send({ conversationId }, `${i}/${n}`);
        sequences.push(sequence);
      }
      return sequences;
    }),
  );

  const all = accepted.flat().map(Number);
  const expected = Array.from({ length: senders * each }, (_, i) => i + 2);
  assert.deepEqual(
    all.sort((x, y) => x - y),
    expected,
  );
  for (const own of accepted) {
    assert.deepEqual(
      own,
      [...own].sort((x, y) => Number(x - y)),
    );
  }
  const log = await devices[0]!.client.messages.listEntries({
    conversationId,
    position: { case: "afterSequence", value: 1n },
    limit: 500,
  });
  const truth = log.entries.map((e) => e.messageId);
  for (const [i, device] of devices.entries()) {
    const others = truth.length - each;
    const seen = () =>
      device.entries.filter(
        (e) => e.conversationId === conversationId && e.senderId !== device.userId,
      );
    await device.until(
      () => seen().filter((e) => e.content?.kind.case === "text").length === others,
    );
    const texts = seen().filter((e) => e.content?.kind.case === "text");
    const order = log.entries.filter((e) => e.senderId !== device.userId).map((e) => e.messageId);
    assert.deepEqual(
      texts.map((e) => e.messageId),
      order,
      `phone ${i}`,
    );
  }
});

test("a member receives a group's messages from joining until removal", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben, cai] = await people(world, "ana", "ben", "cai");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices(), cai!.closeDevices()]));
  const [a, b, c] = await Promise.all([
    ana!.clientDevice(),
    ben!.clientDevice(),
    cai!.clientDevice(),
  ]);
  await Promise.all([a, b, c].map((p) => p.client.connect()));
  const { group } = await a.client.groups.createGroup({ name: "g", userIds: [ben!.userId] });
  const conversationId = group!.groupId;
  await a.client.send({ conversationId }, "before cai");
  await a.client.groups.addMembers({ groupId: conversationId, userIds: [cai!.userId] });
  await a.client.send({ conversationId }, "with cai");
  await c.until(() => c.texts(conversationId).length === 1);
  assert.deepEqual(c.texts(conversationId), ["with cai"]);

  await a.client.groups.removeMember({ groupId: conversationId, userId: cai!.userId });
  await a.client.send({ conversationId }, "without cai");
  await b.until(() => b.texts(conversationId).length === 3);
  assert.deepEqual(b.texts(conversationId), ["before cai", "with cai", "without cai"]);
  const refused = c.client.send({ conversationId }, "let me in");
  await assert.rejects(
    refused,
    (e: { reason?: ErrorReason }) => e.reason === ErrorReason.NOT_A_MEMBER,
  );
  const page = await c.client.messages.listEntries({
    conversationId,
    position: { case: "afterSequence", value: 0n },
  });
  const kinds = page.entries.map((e) => e.content?.kind.case);
  assert.deepEqual(kinds, ["tip", "text", "tip"], "from joining to leaving");
  assert.deepEqual(c.texts(conversationId), ["with cai"]);
});

test("only the owner and admins change a group", { timeout: TIMEOUT }, async () => {
  const [ana, ben, cai] = await people(world, "ana", "ben", "cai");
  const asAna = clientOf(world.url, GroupService, (await ana!.login()).accessToken);
  const asBen = clientOf(world.url, GroupService, (await ben!.login()).accessToken);
  const asCai = clientOf(world.url, GroupService, (await cai!.login()).accessToken);
  const { group } = await asAna.createGroup({ name: "g", userIds: [ben!.userId] });
  const groupId = group!.groupId;
  const denied = (e: unknown) => reasonOf(e) === ErrorReason.PERMISSION_DENIED;
  const unknown = (e: unknown) => reasonOf(e) === ErrorReason.CONVERSATION_NOT_FOUND;
  await assert.rejects(asBen.addMembers({ groupId, userIds: [cai!.userId] }), denied);
  await assert.rejects(asBen.removeMember({ groupId, userId: ana!.userId }), denied);
  await assert.rejects(asCai.getGroup({ groupId }), unknown);
  await assert.rejects(asCai.addMembers({ groupId, userIds: [cai!.userId] }), unknown);
  await asBen.removeMember({ groupId, userId: ben!.userId });
  assert.equal((await asAna.getGroup({ groupId })).group!.memberCount, 1);
});
