import assert from "node:assert/strict";
import { after, test } from "node:test";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { SlowReader } from "../devices/slow-reader.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 180_000;
const world = await startWorld({ after });

const COUNT = 1_000;
const SIZE = 32_000;
const SENDS_IN_FLIGHT = 20;

test("the backlog kept for a slow reader is bounded, and the reader catches up", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(world, "ana", "ben");
  const asAna = clientOf(world.url, MessageService, (await ana!.login()).accessToken);
  const bens = await ben!.login();
  const port = Number(new URL(world.connects[0]!).port);
  const slow = await SlowReader.open(port, bens.accessToken);
  t.after(async () => void slow.socket.destroy());
  slow.socket.pause();

  let conversationId = "";
  const data = new Uint8Array(SIZE);
  const numbers = Array.from({ length: COUNT }, (_, n) => n).values();
  const send = async () => {
    for (const n of numbers) {
      const { accepted } = await asAna.send({
        target: { case: "userId", value: ben!.userId },
        clientMessageId: `n-${n}`,
        content: { kind: { case: "custom", value: { type: "noise", data } } },
      });
      conversationId = accepted!.conversationId;
    }
  };
  await Promise.all(Array.from({ length: SENDS_IN_FLIGHT }, send));

  slow.socket.resume();
  const required = await slow.next("syncRequired");
  assert.equal(required.conversationId, conversationId);
  const delivered = slow.seen("deliver").flatMap(({ entries }) => entries);
  // These entries were queued in connect and in the kernels between.
  assert.ok(delivered.length < COUNT / 2, `${delivered.length} of ${COUNT} had been kept`);

  // The device syncs as the protocol says: it lists all entries after the last one before a gap.
  const asBen = clientOf(world.url, MessageService, bens.accessToken);
  const sequences = new Set(delivered.map(({ sequence }) => Number(sequence)));
  let last = 0;
  while (sequences.has(last + 1)) last++;
  for (;;) {
    const position = { case: "afterSequence", value: BigInt(last) } as const;
    const { entries } = await asBen.listEntries({ conversationId, position, pageSize: 500 });
    for (const { sequence } of entries) assert.equal(Number(sequence), ++last);
    if (entries.length === 0) break;
  }
  assert.equal(last, COUNT);
});
