import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { RawDevice } from "../devices/raw-device.ts";
import { groupOf, type Member, memberOf, members, say } from "../world/members.ts";
import { queryLogs, startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

/** Names of the tables of the log that contain the text. */
async function tablesWith(canary: string): Promise<string[]> {
  const { rows: tables } = await world.pool.query<{ name: string }>(
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'im' AND table_type = 'BASE TABLE'",
  );
  const found: string[] = [];
  for (const { name } of tables) {
    // The text of a bytea is hexadecimal.
    const rows = await queryLogs<{ row: string }>(
      world,
      `SELECT t::text AS row FROM im."${name}" t`,
    );
    const hex = Buffer.from(canary).toString("hex");
    if (rows.some(({ row }) => row.includes(canary) || row.includes(hex))) found.push(name);
  }
  return found;
}

/** The answers of all methods that read messages of a conversation, as text. */
async function answersOf(member: Member, conversationId: string, sequences: bigint[]) {
  const position = { case: "afterSequence", value: 0n } as const;
  const [sequence] = sequences;
  const target = { case: "conversationId", value: conversationId } as const;
  const range = { fromSequence: 1n, toSequence: 99n, afterSequence: 0n };
  const { history, messages, conversations } = member;
  const answers = await Promise.all([
    messages.sync({}),
    messages.listEntries({ conversationId, position, pageSize: 500 }),
    conversations.getConversation({ target }),
    history.listMessages({ conversationId, position, pageSize: 100 }),
    history.getMessages({ conversationId, sequences }),
    history.listChangedMessages({ conversationId, ...range }),
    history.listPins({ conversationId }),
    history.listReactions({ conversationId, sequence: sequence! }),
    history.listRevisions({ conversationId, sequence: sequence! }).catch(() => ""),
  ]);
  return JSON.stringify(answers, (_, value) => (typeof value === "bigint" ? `${value}` : value));
}

test("after the answer to a recall nobody gets the text, and no row has it", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben, cai] = await members(world, "ana", "ben", "cai");
  const conversationId = await groupOf([ana!, ben!, cai!]);
  const canary = `canary-${randomUUID()}`;
  // This device acknowledges nothing: its entries are delivered again and again.
  const silent = await RawDevice.hello(world.url, (await memberOf(world, ben!.person)).token);
  t.after(() => silent.close());
  const sequence = await say(ana!, conversationId, `${canary} first`, {
    extra: { note: canary },
    mentionedUserIds: [ben!.userId],
  });
  await silent.next("deliver", ({ entries }) => entries.some((e) => e.sequence === sequence));
  for (const text of [`${canary} second`, `${canary} third`])
    await ana!.changes.editMessage({
      conversationId,
      sequence,
      clientMessageId: randomUUID(),
      change: { case: "text", value: { text } },
    });
  const reply = await say(cai!, conversationId, "agreed", { replyToSequence: sequence });
  await ben!.changes.setReactions({ conversationId, sequence, emojis: ["👍"] });
  await ana!.changes.pinMessage({ conversationId, sequence });
  assert.ok((await answersOf(ben!, conversationId, [sequence, reply])).includes(canary));
  assert.ok((await tablesWith(canary)).length > 0);

  const { changedSequence } = await cai!.changes
    .recallMessages({ conversationId, sequences: [sequence] })
    .then(
      () => assert.fail("a member recalls another's message"),
      () => ana!.changes.recallMessages({ conversationId, sequences: [sequence] }),
    );
  assert.deepEqual(await tablesWith(canary), []);
  for (const member of [ana!, ben!, cai!]) {
    const answers = await answersOf(member, conversationId, [sequence, reply]);
    assert.ok(!answers.includes(canary), `an answer to ${member.userId}`);
  }
  // All frames up to the recall were made before its answer, or hold the recall. Later ones are clean.
  await silent.next("deliver", ({ entries }) =>
    entries.some((e) => e.sequence === changedSequence),
  );
  while (silent.seen("deliver").length > 0) await silent.next("deliver");
  await world.clock.advance(15_000);
  const again = await silent.next("deliver", ({ entries }) =>
    entries.some((entry) => entry.sequence === sequence),
  );
  const bytes = again.entries.map((entry) => Buffer.from(toBinary(EntrySchema, entry)).toString());
  assert.ok(!bytes.join().includes(canary), "a repeated delivery");

  const fresh = await memberOf(world, ben!.person);
  assert.ok(!(await answersOf(fresh, conversationId, [sequence, reply])).includes(canary));
});
