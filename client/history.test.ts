import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { DeviceClass } from "../gen/lucky/auth/v1/auth_pb.js";
import { EntrySchema, MessageStateSchema } from "../gen/lucky/message/v1/entry_pb.js";
import { startWorld } from "../test/world/world.ts";
import { LuckyClient } from "./client.ts";
import type { ClientOptions } from "./client-options.ts";
import { ConversationMessages } from "./messages/conversation-messages.ts";
import { MemoryStore } from "./store.ts";

const TIMEOUT = 60_000;
const PASSWORD = "correct horse battery staple";
const world = await startWorld({ after });
const clients: LuckyClient[] = [];
after(() => Promise.all(clients.map((client) => client.close())));

function device(options: Partial<ClientOptions> = {}): LuckyClient {
  const about = { deviceId: randomUUID(), deviceClass: DeviceClass.WEB };
  const client = new LuckyClient({ url: world.url, device: about, ...options });
  clients.push(client);
  return client;
}

async function register(name: string, options: Partial<ClientOptions> = {}): Promise<LuckyClient> {
  const userName = `${name}-${randomUUID().slice(0, 8)}`;
  const client = device(options);
  await client.register(userName, PASSWORD);
  await client.login(userName, PASSWORD);
  return client;
}

/** Pins the message 1, as a server does: the entry of the change, and the state of the message. */
async function pin(conversationId: string): Promise<void> {
  const entry = create(EntrySchema, {
    conversationId,
    ...{ notShown: true, notCounted: true },
    content: { kind: { case: "pin", value: { targetSequence: 1n } } },
  });
  const { rows } = await world.pool.query<{ sequence: string }>(
    `WITH moved AS (
       UPDATE im.conversation SET last_sequence = last_sequence + 1 WHERE conversation_id = $1
       RETURNING last_sequence AS sequence, last_countable)
     INSERT INTO im.entry (conversation_id, sequence, message_id, sender_id, kind, countable, accepted_at_ms, body)
     SELECT $1, sequence, sequence + $1::bigint, 1, 23, last_countable, 0, $2 FROM moved RETURNING sequence`,
    [conversationId, Buffer.from(toBinary(EntrySchema, entry))],
  );
  const sequence = BigInt(rows[0]!.sequence);
  await world.pool.query("INSERT INTO im.change VALUES ($1, $2::bigint, $2::bigint - 1)", [
    conversationId,
    String(sequence),
  ]);
  const state = create(MessageStateSchema, { changedSequence: sequence, pinnedSequence: sequence });
  await world.pool.query(
    `INSERT INTO im.message_state (conversation_id, sequence, changed_sequence, recalled, edits, pinned_sequence, state)
     VALUES ($1, 1, $2::bigint, false, 0, $2::bigint, $3)`,
    [conversationId, String(sequence), Buffer.from(toBinary(MessageStateSchema, state))],
  );
}

/** Records what a client emits, by kind and sequence; `until` waits for a number of events. */
function events(client: LuckyClient): string[] {
  const seen: string[] = [];
  client.on("message", ({ sequence }) => seen.push(`message ${sequence}`));
  client.on("change", ({ kind, sequence, targetSequences }) => {
    seen.push(`${kind} ${sequence} of ${targetSequences}`);
  });
  client.on("jumped", ({ after: from, to }) => seen.push(`jumped ${from} to ${to}`));
  client.on("messageChanged", ({ sequence, state }) => {
    seen.push(`changed ${sequence} by ${state?.changedSequence}`);
  });
  return seen;
}

test("a device that was away gets the whole log, or jumps and makes its messages exact", {
  timeout: TIMEOUT,
}, async () => {
  const ana = await register("ana");
  const [whole, jumping] = [new MemoryStore(), new MemoryStore()];
  const ben = await register("ben", { store: whole });
  await ana.connect();
  const { conversationId } = await ana.send({ userId: ben.userId }, "1");
  await ana.send({ conversationId }, "2");
  await ben.connect();
  await ben.caughtUp();
  assert.deepEqual(ben.ranges(conversationId), [{ low: 1n, high: 2n, exactTo: 2n }]);
  await ben.close();
  for (const [id, position] of (await whole.load()).positions) jumping.savePosition(id, position);
  for (const [id, ranges] of (await whole.load()).ranges) jumping.saveRanges(id, ranges);

  await pin(conversationId);
  for (const text of ["4", "5", "6", "7"]) await ana.send({ conversationId }, text);

  const later = device({ store: whole });
  later.resume(ben.tokens!);
  const seen = events(later);
  await later.connect();
  await later.caughtUp();
  const sends = [4, 5, 6, 7].map((sequence) => `message ${sequence}`);
  assert.deepEqual(seen, ["pin 3 of 1", ...sends]);
  await later.close();

  const jumper = device({ store: jumping, catchUp: "jump", jumpEntries: 3 });
  jumper.resume(later.tokens!);
  const jumped = events(jumper);
  await jumper.connect();
  await jumper.caughtUp();
  assert.deepEqual(jumped, ["jumped 2 to 7", "changed 1 by 3"]);
  assert.deepEqual(jumper.ranges(conversationId), [{ low: 1n, high: 2n, exactTo: 7n }]);
  const messages = new ConversationMessages({ userId: ben.userId });
  for (let before: bigint | undefined; before !== 1n; ) {
    const page = await jumper.messagesBefore(conversationId, before, 2);
    messages.addPage(page);
    before = page.low;
  }
  const all = [{ low: 1n, high: 7n, exactTo: 7n }];
  assert.deepEqual([messages.ranges, jumper.ranges(conversationId)], [all, all]);
  const shown = messages.list({ low: 1n, high: 7n });
  assert.deepEqual(
    shown.map(({ sequence }) => Number(sequence)),
    [1, 2, 4, 5, 6, 7],
  );
  assert.equal(shown[0]?.state?.pinnedSequence, 3n);
  assert.deepEqual(jumped.length, 2, "pages emit nothing");
});
