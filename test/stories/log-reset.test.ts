import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Client } from "pg";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { ConversationService } from "#gen/lucky/message/v1/conversation_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { resetLog } from "#platform/backup/reset-log.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, text } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const SWEEP_MS = 5_000;
const settings = { LUCKY_CONNECT_SWEEP_INTERVAL_MS: String(SWEEP_MS) };
const world = await startWorld({ after }, { settings });

/**
 * Makes each database of the log what a standby that lacks the last entries of a conversation is after
 * its promotion, and what `npm run migrate -- promote` does with it.
 */
async function promoteWithout(conversationId: string, fromSequence: number): Promise<void> {
  for (const pool of world.logs) {
    const client = await pool.connect();
    await client.query("BEGIN");
    await client.query("DELETE FROM im.entry WHERE conversation_id = $1 AND sequence >= $2", [
      conversationId,
      fromSequence,
    ]);
    const lost = [conversationId, fromSequence - 1];
    await client.query(
      `UPDATE im.conversation SET last_sequence = $2, last_countable = $2
        WHERE conversation_id = $1`,
      lost,
    );
    await client.query(
      `UPDATE im.member SET delivered_sequence = least(delivered_sequence, $2::bigint),
                            read_sequence = least(read_sequence, $2::bigint)
        WHERE conversation_id = $1`,
      lost,
    );
    await client.query("DELETE FROM im.outbox");
    await resetLog(client as unknown as Client);
    await client.query("COMMIT");
    client.release();
  }
}

test("after a promotion that lost two messages, sessions reconnect and see that the log was reset", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await people(world, "ana", "ben");
  const asAna = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const { accessToken } = await ben!.login();
  const [asBen, conversations] = [
    clientOf(world.url, MessageService, accessToken),
    clientOf(world.url, ConversationService, accessToken),
  ];
  const send = async (key: string) => {
    const { accepted } = await asAna.send({
      target: { case: "userId", value: ben!.userId },
      clientMessageId: key,
      content: text(key),
    });
    return accepted!;
  };
  const get = async () => {
    const target = { case: "userId", value: ana!.userId } as const;
    return (await conversations.getConversation({ target })).conversation!;
  };
  // One instance: each of them ends its sessions at its own next sweep.
  const address = world.connects[0]!;
  let device = await RawDevice.hello(address, accessToken);
  const { conversationId } = await send("kept");
  for (const key of ["lost-1", "lost-2"]) await send(key);
  /** The sequence of a live delivery. */
  const received = async (key: string) => {
    const isIt = (entry: { clientMessageId: string }) => entry.clientMessageId === key;
    const { entries } = await device.next("deliver", ({ entries }) => entries.some(isIt));
    return entries.find(isIt)!.sequence;
  };
  assert.equal(await received("lost-2"), 3n);
  const { nextCursor } = await asBen.sync({});
  const { epoch } = await get();
  // The epochs of the log are known from an earlier sweep.
  await world.clock.advance(SWEEP_MS);
  await device.roundTrip();

  await promoteWithout(conversationId, 2);
  assert.equal((await send("new")).sequence, 2n);
  const cursor = { conversationId, deliveredSequence: 3n, readSequence: 3n, epoch };
  // A duplicate for the device, which has the sequences up to 3: it acknowledges them again.
  const acknowledgedAgain = async () => {
    assert.equal(await received("new"), 2n);
    device.send({ case: "acknowledge", value: { cursors: [cursor] } });
    await device.roundTrip();
  };
  // A sweep by the running clock may end the session first.
  const ended = device.closed.then(({ code }) => assert.equal(code, CloseCode.LOG_RESET));
  await acknowledgedAgain().catch((error) => (device.isClosed ? ended : Promise.reject(error)));
  await asBen.acknowledge({ cursors: [cursor] });
  await world.clock.advance(SWEEP_MS);
  await ended;

  device = await RawDevice.hello(address, accessToken);
  const synced = await asBen.sync({ cursor: nextCursor });
  const found = synced.conversations.find((one) => one.conversationId === conversationId)!;
  assert.notEqual(found.epoch, epoch);
  assert.deepEqual(await get(), found);
  assert.deepEqual(
    [found.lastSequence, found.deliveredSequence, found.readSequence, found.unreadCount],
    [2n, 0n, 0n, 2n],
  );
  const page = await asBen.listEntries({
    conversationId,
    position: { case: "afterSequence", value: 0n },
  });
  assert.equal(page.epoch, found.epoch);
  assert.deepEqual(
    page.entries.map(({ clientMessageId }) => clientMessageId),
    ["kept", "new"],
  );
  await asBen.acknowledge({ cursors: [{ ...cursor, readSequence: 2n, epoch: page.epoch }] });
  assert.equal((await get()).readSequence, 2n);
  await send("newer");
  assert.equal(await received("newer"), 3n);
  await device.close();
});

test("a client that was online during such a promotion shows each message of the log once", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const [a, b] = [await ana!.clientDevice(), await ben!.clientDevice({ history: "all" })];
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { conversationId } = await a.client.send({ userId: ben!.userId }, "kept");
  for (const text of ["lost-1", "lost-2"]) await a.client.send({ conversationId }, text);
  await b.until(() => b.texts().length === 3);
  await world.clock.advance(SWEEP_MS);

  await promoteWithout(conversationId, 2);
  await a.client.send({ conversationId }, "new");
  await world.clock.advance(SWEEP_MS);
  await b.until(() => b.texts().includes("new"));
  await a.client.send({ conversationId }, "newer");
  await b.until(() => b.texts().includes("newer"));
  assert.deepEqual(b.texts(), ["kept", "new", "newer"]);
  assert.deepEqual(b.sequences(conversationId), [1, 2, 3]);
  await b.client.send({ conversationId }, "answer");
  await a.until(() => a.texts().includes("answer"));
});
