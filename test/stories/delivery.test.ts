import assert from "node:assert/strict";
import { after, test } from "node:test";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, text } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
// Short acknowledgement time-outs, so that the test of a silent device is fast.
const world = await startWorld(
  { after },
  { settings: { LUCKY_CONNECT_ACK_TIMEOUT_MS: "300", LUCKY_CONNECT_REDELIVERIES: "2" } },
);

test("an unacknowledged message is redelivered, then the device gets SyncRequired and the sender an undelivered receipt", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => ana!.closeDevices());
  const a = await ana!.clientDevice();
  await a.client.connect();
  const silent = await RawDevice.hello(world.url, (await ben!.login()).accessToken);
  t.after(() => silent.close());

  const sent = await a.client.send({ userId: ben!.userId }, "are you there?");
  for (let delivery = 1; delivery <= 3; delivery++) {
    const { entries } = await silent.next("deliver");
    assert.deepEqual(
      entries.map((e) => e.messageId),
      [sent.messageId],
      `delivery ${delivery}`,
    );
  }
  const required = await silent.next("syncRequired");
  assert.equal(required.conversationId, sent.conversationId);
  assert.equal(required.lastSequence, 1n);
  await a.until(() => a.receipts.some((r) => r.undeliveredSequence === 1n));

  // After the device has caught up, it gets live deliveries again.
  const { conversationId } = sent;
  silent.send({
    case: "acknowledge",
    value: { cursors: [{ conversationId, deliveredSequence: 1n }] },
  });
  await a.until(() => a.receipts.some((r) => r.deliveredSequence === 1n));
  await a.client.send({ conversationId }, "welcome back");
  const { entries } = await silent.next("deliver");
  assert.equal(entries[0]!.sequence, 2n);
});

test("an acknowledgement covers all earlier entries, which are not redelivered", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => ana!.closeDevices());
  const a = await ana!.clientDevice();
  await a.client.connect();
  const device = await RawDevice.hello(world.url, (await ben!.login()).accessToken);
  t.after(() => device.close());
  let conversationId = "";
  for (let n = 1; n <= 5; n++) {
    ({ conversationId } = await a.client.send({ userId: ben!.userId }, `${n}`));
    await device.next("deliver", (d) => d.entries.some((e) => Number(e.sequence) === n));
  }
  device.send({
    case: "acknowledge",
    value: { cursors: [{ conversationId, deliveredSequence: 5n }] },
  });
  await a.until(() => a.receipts.some((r) => r.deliveredSequence === 5n));
  // An acknowledgement never moves a cursor back.
  device.send({
    case: "acknowledge",
    value: { cursors: [{ conversationId, deliveredSequence: 2n }] },
  });
  device.send({ case: "acknowledge", value: { cursors: [{ conversationId, readSequence: 4n }] } });
  await a.until(() => a.receipts.some((r) => r.readSequence === 4n));
  const messages = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const { receipts } = await messages.listReceipts({ conversationId });
  const ofBen = receipts.find((r) => r.userId === ben!.userId)!;
  assert.equal(ofBen.deliveredSequence, 5n);
  assert.equal(ofBen.readSequence, 4n);

  // A later unacknowledged message is redelivered alone: the acknowledged ones are not.
  await a.client.send({ userId: ben!.userId }, "6");
  for (let delivery = 1; delivery <= 2; delivery++) {
    const { entries } = await device.next("deliver", (d) =>
      d.entries.some((e) => e.sequence === 6n),
    );
    assert.deepEqual(
      entries.map((e) => Number(e.sequence)),
      [6],
    );
  }
});

test("the sender sees SENT, DELIVERED, READ", { timeout: TIMEOUT }, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await a.client.connect();
  const { conversationId, sequence } = await a.client.send({ userId: ben!.userId }, "hi");
  assert.equal(a.receipts.filter((r) => r.userId === ben!.userId).length, 0);
  await b.client.connect();
  await a.until(() =>
    a.receipts.some((r) => r.userId === ben!.userId && r.deliveredSequence === sequence),
  );
  await b.until(() => b.texts().length === 1);
  b.client.markRead(conversationId, sequence);
  await a.until(() =>
    a.receipts.some((r) => r.userId === ben!.userId && r.readSequence === sequence),
  );
});

test("the unread count covers other users' messages only and falls with the read cursor", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await people(world, "ana", "ben");
  const asAna = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const asBen = clientOf(world.url, MessageService, (await ben!.login()).accessToken);
  const target = { case: "userId", value: ben!.userId } as const;
  let conversationId = "";
  for (let n = 0; n < 3; n++) {
    const { accepted } = await asAna.send({ target, clientMessageId: `a${n}`, content: text("a") });
    conversationId = accepted!.conversationId;
  }
  const back = { case: "conversationId", value: conversationId } as const;
  await asBen.send({ target: back, clientMessageId: "b", content: text("b") });
  const unread = async (client: typeof asBen) =>
    Number((await client.sync({})).conversations[0]!.unreadCount);
  assert.deepEqual([await unread(asBen), await unread(asAna)], [3, 1]);
  await asBen.acknowledge({ cursors: [{ conversationId, readSequence: 2n }] });
  assert.equal(await unread(asBen), 1);
  await asBen.acknowledge({ cursors: [{ conversationId, readSequence: 99n }] });
  assert.equal(await unread(asBen), 0);
});
