import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { queryLogs, startWorld, untilIdsCanBeMade } from "../world/world.ts";

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
    pageSize: 500,
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

test("a member receives a group's messages from joining until removal, and from rejoining on", {
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

  await a.client.groups.addMembers({ groupId: conversationId, userIds: [cai!.userId] });
  await a.client.send({ conversationId }, "cai again");
  await c.until(() => c.texts(conversationId).length === 2);
  assert.deepEqual(c.texts(conversationId), ["with cai", "cai again"]);
  const rejoined = await c.client.messages.listEntries({
    conversationId,
    position: { case: "afterSequence", value: 0n },
  });
  assert.deepEqual(
    rejoined.entries.map(({ sequence, content }) => [sequence, content?.kind.case]),
    [
      [7n, "tip"],
      [8n, "text"],
    ],
    "from the last joining on",
  );
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

test("unread counts and catching up are exact while delivered cursors wait to be stored; they are stored within a minute", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => ana!.closeDevices());
  const a = await ana!.clientDevice();
  await a.client.connect();
  const { group } = await a.client.groups.createGroup({ name: "g", userIds: [ben!.userId] });
  const conversationId = group!.groupId;
  const { accessToken } = await ben!.login();
  const asBen = clientOf(world.url, MessageService, accessToken);
  const device = await RawDevice.hello(world.url, accessToken);
  t.after(() => device.close());
  const stateOfBen = async () => {
    const { conversations } = await asBen.sync({});
    const found = conversations.find((one) => one.conversationId === conversationId)!;
    return [found.lastSequence, found.deliveredSequence, found.readSequence, found.unreadCount];
  };
  const acknowledge = async (cursor: { deliveredSequence?: bigint; readSequence?: bigint }) => {
    device.send({ case: "acknowledge", value: { cursors: [{ conversationId, ...cursor }] } });
    await device.roundTrip();
  };

  for (const text of ["one", "two", "three"]) await a.client.send({ conversationId }, text);
  await device.next("deliver", ({ entries }) => entries.some(({ sequence }) => sequence === 4n));
  await acknowledge({ deliveredSequence: 4n });
  assert.deepEqual(await stateOfBen(), [4n, 0n, 0n, 3n]);

  // The device is silent for less than its heartbeat time-out.
  for (let second = 0; second < 80; second += 20) {
    await world.clock.advance(20_000);
    await untilIdsCanBeMade(world);
    await device.roundTrip();
  }
  while ((await stateOfBen())[1] !== 4n);
  assert.deepEqual(await stateOfBen(), [4n, 4n, 0n, 3n]);

  // A read cursor is stored at once, and takes the held delivered cursor along.
  await a.client.send({ conversationId }, "four");
  await device.next("deliver", ({ entries }) => entries.some(({ sequence }) => sequence === 5n));
  await acknowledge({ deliveredSequence: 5n });
  await acknowledge({ readSequence: 2n });
  while ((await stateOfBen())[2] !== 2n);
  assert.deepEqual(await stateOfBen(), [5n, 5n, 2n, 3n]);

  // A device that ends its session and begins a new one catches up from its own position.
  await a.client.send({ conversationId }, "five");
  await device.close();
  const position = { case: "afterSequence", value: 5n } as const;
  const missed = await asBen.listEntries({ conversationId, position });
  assert.deepEqual(
    missed.entries.map(({ sequence }) => sequence),
    [6n],
  );
});

test("a repeated creation, removal or leaving is answered like the first, on any server", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, cai, eve] = await people(world, "ana", "ben", "cai", "eve");
  const [anas, bens, eves] = await Promise.all(
    [ana!, ben!, eve!].map(async (one) =>
      clientOf(world.url, GroupService, (await one.login()).accessToken),
    ),
  );
  const members = { userIds: [ben!.userId, cai!.userId], clientGroupId: "k1" };
  const request = { name: "g", ...members };
  const created = await Promise.all([1, 2, 3, 4].map(() => anas!.createGroup(request)));
  for (const { group } of created) assert.deepEqual(group, created[0]!.group);
  const reused = (e: unknown) => reasonOf(e) === ErrorReason.KEY_REUSED;
  await assert.rejects(anas!.createGroup({ ...request, name: "h" }), reused);
  await assert.rejects(anas!.createGroup({ ...request, userIds: [cai!.userId] }), reused);

  const { groupId } = created[0]!.group!;
  const removal = { groupId, userId: cai!.userId };
  const removed = await Promise.all([1, 2, 3].map(() => anas!.removeMember(removal)));
  for (const { group } of removed) assert.equal(group!.memberCount, 2);
  const leaving = { groupId, userId: ben!.userId };
  const left = await Promise.all([1, 2, 3].map(() => bens!.removeMember(leaving)));
  for (const { group } of left) assert.equal(group!.memberCount, 1);
  const stranger = { groupId, userId: eve!.userId };
  await assert.rejects(
    eves!.removeMember(stranger),
    (e) => reasonOf(e) === ErrorReason.CONVERSATION_NOT_FOUND,
  );
  await assert.rejects(
    anas!.removeMember(stranger),
    (e) => reasonOf(e) === ErrorReason.NOT_A_MEMBER,
  );
  const rows = await queryLogs(world, "SELECT 1 FROM im.entry WHERE conversation_id = $1", [
    groupId,
  ]);
  assert.equal(rows.length, 3, "the creation and two tips");
});
