import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { accepted, Stand, say } from "../server.fixture.ts";

const { pool } = await startTestPostgres({ after }, { max: 24 });

test("cursors only move forward, never past the end, and reading moves the delivered cursor", async (t) => {
  const one = await new Stand(t, pool).server();
  const sends = Array.from({ length: 10 }, (_, i) => say("101", "102", `m${i}`));
  const { conversationId } = accepted((await one.append(...sends))[0]);
  const cursors = async () => {
    const { receipts } = await one.messages("101").listReceipts({ conversationId });
    const receipt = receipts.find(({ userId }) => userId === "102");
    return [Number(receipt!.deliveredSequence), Number(receipt!.readSequence)];
  };
  const advance = (deliveredSequence: number, readSequence: number) =>
    one.messages("102").acknowledge({
      cursors: [
        {
          conversationId,
          deliveredSequence: BigInt(deliveredSequence),
          readSequence: BigInt(readSequence),
        },
      ],
    });
  await advance(4, 0);
  assert.deepEqual(await cursors(), [4, 0]);
  await advance(2, 1);
  assert.deepEqual(await cursors(), [4, 1]);
  await advance(0, 6);
  assert.deepEqual(await cursors(), [6, 6]);
  await advance(3, 3);
  assert.deepEqual(await cursors(), [6, 6]);
  await advance(1_000, 999);
  assert.deepEqual(await cursors(), [10, 10]);
});

test("a batch moves the cursors of many users, and skips non-members", async (t) => {
  const one = await new Stand(t, pool).server();
  const users = Array.from({ length: 50 }, (_, i) => `${1_100 + i}`);
  const results = await one.append(...users.map((user) => say("1099", user, "m")));
  const advances = results.flatMap((result, i) => {
    const { conversationId } = accepted(result);
    const cursor = { conversationId, deliveredSequence: 1n, readSequence: 0n };
    return [
      { userId: users[i]!, cursor },
      { userId: users[i]!, cursor: { ...cursor, readSequence: 1n } },
      { userId: "1098", cursor },
      { userId: users[i]!, cursor: { ...cursor, conversationId: "55" } },
    ];
  });
  await one.ingress.advanceBatch({ advances });
  const { rows } = await pool.query(
    `SELECT count(*)::int AS n FROM im.member
      WHERE user_id BETWEEN 1100 AND 1149 AND delivered_sequence = 1 AND read_sequence = 1`,
  );
  assert.equal(rows[0].n, 50);
});

test("the peer gets each receipt once, and the user's own devices get moved read cursors", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("121", "122", "m")))[0]);
  const subscriber = await stand.instance("connect-0", ["u:121", "u:122"]);
  const cursor = { conversationId, deliveredSequence: 1n, readSequence: 0n };
  await one.ingress.advanceBatch({ advances: [{ userId: "122", cursor }] });
  await one.ingress.advanceBatch({ advances: [{ userId: "122", cursor }] });
  await one.ingress.advanceBatch({
    advances: [{ userId: "122", cursor: { ...cursor, readSequence: 1n } }],
  });
  await subscriber.until(({ frames }) => frames.length === 2);
  assert.deepEqual(
    subscriber.envelopes.flatMap(({ signals }) => signals.map(({ channels }) => channels)),
    [["u:121"], ["u:121", "u:122"]],
  );
  const receipts = subscriber.frames.map(({ kind }) =>
    kind.case === "receipt" ? kind.value : undefined,
  );
  assert.deepEqual(
    receipts.map((r) => [r?.userId, r?.deliveredSequence, r?.readSequence]),
    [
      ["122", 1n, 0n],
      ["122", 1n, 1n],
    ],
  );
});

test("in a group only the reader's own devices get a receipt", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { group } = await one.groups("131").createGroup({ name: "g", userIds: ["132"] });
  const conversationId = group!.groupId;
  const subscriber = await stand.instance("connect-0", ["u:131", "u:132"]);
  const advance = (deliveredSequence: bigint, readSequence: bigint) =>
    one.ingress.advanceBatch({
      advances: [{ userId: "132", cursor: { conversationId, deliveredSequence, readSequence } }],
    });
  await advance(1n, 0n);
  await advance(1n, 1n);
  await subscriber.until(({ frames }) => frames.length === 1);
  const signals = subscriber.envelopes.flatMap((envelope) => envelope.signals);
  assert.deepEqual(
    signals.map(({ channels }) => channels),
    [["u:132"]],
  );
});

test("a silent device is reported to the other user of a direct conversation", async (t) => {
  const stand = new Stand(t, pool);
  const one = await stand.server();
  const { conversationId } = accepted((await one.append(say("141", "142", "m")))[0]);
  const subscriber = await stand.instance("connect-0", ["u:141", "u:142"]);
  const cursor = { conversationId, deliveredSequence: 0n, readSequence: 0n };
  await one.ingress.advanceBatch({
    advances: [
      { userId: "142", cursor, undeliveredSequence: 1n },
      { userId: "143", cursor, undeliveredSequence: 1n },
    ],
  });
  await subscriber.until(({ frames }) => frames.length === 1);
  const [frame] = subscriber.frames;
  assert.equal(frame!.kind.case, "receipt");
  const receipt = frame!.kind.value as { userId: string; undeliveredSequence: bigint };
  assert.deepEqual([receipt.userId, receipt.undeliveredSequence], ["142", 1n]);
  assert.deepEqual(subscriber.envelopes[0]!.signals[0]!.channels, ["u:141"]);
  assert.match(await one.metrics.text(), /lucky_undelivered_total 2/);
});
