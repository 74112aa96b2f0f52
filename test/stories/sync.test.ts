import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type Conversation, ConversationService } from "#gen/lucky/message/v1/conversation_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { clientOf, people, text } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 180_000;
const world = await startWorld(
  { after },
  // The test sends 5,000 messages on one socket, faster than the default frame limit allows.
  { settings: { LUCKY_CONNECT_FRAMES_PER_SECOND: "20000", LUCKY_CONNECT_FRAMES_BURST: "20000" } },
);

test("a device that was offline receives 5,000 entries in order, each once", {
  timeout: TIMEOUT,
}, async (t) => {
  const missed = 5_000;
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { conversationId } = await a.client.send({ userId: ben!.userId }, "0");
  await b.until(() => b.entries.length === 1);
  await b.client.close();

  const sends: Promise<unknown>[] = [];
  for (let n = 1; n <= missed; n++) sends.push(a.client.send({ conversationId }, `${n}`));
  await Promise.all(sends);
  assert.equal(b.entries.length, 1);

  await b.client.connect();
  await b.until(() => b.entries.length >= missed + 1);
  assert.deepEqual(
    b.sequences(conversationId),
    Array.from({ length: missed + 1 }, (_, i) => i + 1),
  );
  assert.deepEqual(
    b.texts(conversationId),
    Array.from({ length: missed + 1 }, (_, i) => `${i}`),
  );
});

test("the log pages forward and backward and reports its last sequence", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await people(world, "ana", "ben");
  const asAna = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  let conversationId = "";
  for (let n = 1; n <= 25; n++) {
    const { accepted } = await asAna.send({
      target: { case: "userId", value: ben!.userId },
      clientMessageId: `${n}`,
      content: text(`${n}`),
    });
    conversationId = accepted!.conversationId;
  }
  const page = async (position: { case: "afterSequence" | "beforeSequence"; value: bigint }) => {
    const { entries, lastSequence } = await asAna.listEntries({
      conversationId,
      position,
      pageSize: 10,
    });
    assert.equal(lastSequence, 25n);
    return entries.map((e) => Number(e.sequence));
  };
  const range = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i);
  assert.deepEqual(await page({ case: "afterSequence", value: 0n }), range(1, 10));
  assert.deepEqual(await page({ case: "afterSequence", value: 20n }), range(21, 25));
  assert.deepEqual(await page({ case: "afterSequence", value: 25n }), []);
  assert.deepEqual(await page({ case: "beforeSequence", value: 26n }), range(16, 25));
  assert.deepEqual(await page({ case: "beforeSequence", value: 6n }), range(1, 5));
  assert.deepEqual(await page({ case: "beforeSequence", value: 1n }), []);
});

test("Sync pages over many conversations and returns each of them, as GetConversation does", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ...others] = await people(
    world,
    "ana",
    ...Array.from({ length: 12 }, (_, i) => `o${i}`),
  );
  const { accessToken } = await ana!.login();
  const asAna = clientOf(world.url, MessageService, accessToken);
  const expected = new Set<string>();
  for (const other of others) {
    const { accepted } = await asAna.send({
      target: { case: "userId", value: other.userId },
      clientMessageId: "hello",
      content: text("hello"),
    });
    expected.add(accepted!.conversationId);
  }
  const seen = new Map<string, Conversation>();
  let cursor = "";
  let pages = 0;
  for (;;) {
    const page = await asAna.sync({ cursor, pageSize: 5 });
    pages++;
    assert.ok(page.conversations.length <= 5);
    for (const conversation of page.conversations) {
      seen.set(conversation.conversationId, conversation);
      assert.equal(conversation.lastEntry?.sequence, conversation.lastSequence);
    }
    cursor = page.nextCursor;
    if (!page.hasMore) break;
  }
  assert.deepEqual(new Set(seen.keys()), expected);
  const one = seen.get([...expected].at(-1)!)!;
  const own = clientOf(world.url, ConversationService, accessToken);
  for (const target of [
    { case: "userId", value: one.peerUserId } as const,
    { case: "conversationId", value: one.conversationId } as const,
  ])
    assert.deepEqual((await own.getConversation({ target })).conversation, one);
  assert.ok(pages >= 3);
});
